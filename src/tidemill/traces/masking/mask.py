"""The mask: replaces what the rules name, anywhere in a span."""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any, Protocol

import re2

from tidemill.traces.masking.names import is_no_content
from tidemill.traces.types import EventRecord, LinkRecord, SpanPayload, SpanRecord
from tidemill.traces.types.masking import MaskingPatternInvalid, MaskingRule

_MIN_CHARS = 5
"""No personal data that is looked for has fewer characters."""
_MAX_DEPTH = 60
_MAX_CACHED_KEY = 200
"""Longer keys, which hardly repeat, are not cached."""


class Finder(Protocol):
    """Finds and replaces personal data in a text."""

    def mask(self, text: str) -> str:
        """Return the text with each match replaced by its kind in brackets."""
        ...


def compile_pattern(pattern: str) -> Any:
    """Return a compiled pattern. Raises MaskingPatternInvalid."""
    options = re2.Options()
    options.log_errors = False
    try:
        expression = re2.compile(pattern, options)
    except re2.error as error:
        text = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        raise MaskingPatternInvalid(
            f"{pattern!r} is no regular expression: {text}.",
            hint="RE2 has no look-around and no back-references.",
            param="pattern",
        ) from error
    if expression.search("") is not None:
        raise MaskingPatternInvalid(
            f"{pattern!r} matches the empty text, so it would put a mark between all letters.", param="pattern"
        )
    return expression


class Mask:
    """All rules at once. Not safe for several threads."""

    def __init__(self, finder: Finder | None, rules: Sequence[MaskingRule], *, content: bool, salt: str) -> None:
        self._finder = finder
        self._patterns = [
            (compile_pattern(r.pattern), _constant(r.replacement)) for r in rules if r.pattern is not None
        ]
        self._keys = [(key.lower(), rule.replacement) for rule in rules for key in rule.keys]
        self._content = content
        self._salt = salt.encode()
        self._replacements: dict[str, str | None] = {}
        self._resource: tuple[dict[str, Any], dict[str, Any]] | None = None

    @property
    def idle(self) -> bool:
        """Return whether no rule applies, so that nothing changes."""
        return self._content and self._finder is None and not self._patterns and not self._keys

    def mask_text(self, text: str) -> str:
        """Return a text without what the rules name."""
        if len(text) < _MIN_CHARS and not self._patterns:
            return text
        masked = self._finder.mask(text) if self._finder is not None else text
        for pattern, replacement in self._patterns:
            masked = pattern.sub(replacement, masked)
        return masked

    def mask_value(self, value: Any, depth: int = 0) -> Any:
        """Return a JSON value without what the rules name."""
        if isinstance(value, str):
            return self.mask_text(value)
        if depth > _MAX_DEPTH:
            return "[MASKED]" if isinstance(value, dict | list) else value
        if isinstance(value, dict):
            return {key: self._mask_field(str(key), inner, depth) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.mask_value(inner, depth + 1) for inner in value]
        return self.mask_text(value.decode(errors="replace")) if isinstance(value, bytes) else value

    def pseudonymize(self, value: str) -> str:
        """Return the name of a user or session; for one that is masked, the same pseudonym each time."""
        masked = self.mask_text(value)
        if masked == value:
            return value
        mark = hmac.new(self._salt, value.encode(), hashlib.sha256).hexdigest()[:12]
        return f"{masked[:80]}:{mark}"

    def apply(self, records: Sequence[SpanRecord]) -> None:
        """Mask spans in place. Doing it again changes nothing more."""
        if self.idle:
            return
        for record in records:
            self._mask_record(record)

    def _mask_record(self, record: SpanRecord) -> None:
        payload = record.payload
        record.name = self.mask_text(record.name)
        if record.status_message is not None:
            record.status_message = self.mask_text(record.status_message) if self._content else None
        if record.user is not None:
            record.user = self.pseudonymize(record.user)
        if record.session is not None:
            record.session = self.pseudonymize(record.session)
        record.payload = SpanPayload(
            input=self.mask_value(payload.input) if self._content else None,
            output=self.mask_value(payload.output) if self._content else None,
            attributes=self._mask_attributes(payload.attributes),
            events=[self._mask_event(event) for event in payload.events],
            links=[self._mask_link(link) for link in payload.links],
            resource=self._mask_resource(payload.resource),
            scope=payload.scope,
        )

    def _mask_event(self, event: EventRecord) -> EventRecord:
        return EventRecord(event.at, event.name, self._mask_attributes(event.attributes))

    def _mask_link(self, link: LinkRecord) -> LinkRecord:
        return LinkRecord(link.trace_id, link.span_id, self._mask_attributes(link.attributes))

    def _mask_attributes(self, attributes: dict[str, Any]) -> dict[str, Any]:
        if not self._content:
            attributes = {key: value for key, value in attributes.items() if is_no_content(key, value)}
        masked: dict[str, Any] = self.mask_value(attributes)
        return masked

    def _mask_resource(self, resource: dict[str, Any]) -> dict[str, Any]:
        # All spans of a sender share one dict: it is masked once and not changed.
        if self._resource is None or self._resource[0] is not resource:
            self._resource = (resource, self._mask_attributes(resource))
        return self._resource[1]

    def _mask_field(self, key: str, value: Any, depth: int) -> Any:
        if self._keys:
            replacement = self._replacement(key)
            if replacement is not None:
                return replacement
        return self.mask_value(value, depth + 1)

    def _replacement(self, key: str) -> str | None:
        """Return what replaces this key's value, if a rule names the key."""
        if len(key) > _MAX_CACHED_KEY:
            return self._find_replacement(key)
        if key not in self._replacements:
            if len(self._replacements) > 10_000:
                self._replacements.clear()
            self._replacements[key] = self._find_replacement(key)
        return self._replacements[key]

    def _find_replacement(self, key: str) -> str | None:
        lower = key.lower()
        return next((text for name, text in self._keys if fnmatchcase(lower, name)), None)


def _constant(replacement: str) -> Callable[[Any], str]:
    return lambda _match: replacement
