"""The mask: takes what the rules name out of a span, wherever in it it stands."""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any, Protocol

import re2

from tidemill.traces.types import SpanPayload, SpanRecord
from tidemill.traces.types.masking import MaskingPatternInvalid, MaskingRule

_SHORTEST = 5
"""No personal data that is looked for has fewer characters."""
_DEPTH = 60
BRIEF = 200
"""With contents switched off, texts in attributes are kept up to this length."""


class Finder(Protocol):
    """Finds personal data in a text."""

    def mask(self, text: str) -> str:
        """The text with each find replaced by its kind in brackets."""
        ...


def compiled(pattern: str) -> Any:
    """A pattern ready for use. Raises MaskingPatternInvalid."""
    options = re2.Options()
    options.log_errors = False
    try:
        made = re2.compile(pattern, options)
    except re2.error as error:
        text = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        raise MaskingPatternInvalid(
            f"{pattern!r} is no regular expression: {text}.",
            hint="RE2 has no look-around and no back-references.",
            param="pattern",
        ) from error
    if made.search("") is not None:
        raise MaskingPatternInvalid(
            f"{pattern!r} matches the empty text, so it would put a mark between all letters.", param="pattern"
        )
    return made


class Mask:
    """All rules at once. Use one in one thread."""

    def __init__(self, finder: Finder | None, rules: Sequence[MaskingRule], *, content: bool, salt: str) -> None:
        self._finder = finder
        self._patterns = [(compiled(r.pattern), _literal(r.replacement)) for r in rules if r.pattern is not None]
        self._keys = [(key.lower(), rule.replacement) for rule in rules for key in rule.keys]
        self._content = content
        self._salt = salt.encode()
        self._seen: dict[str, str | None] = {}
        self._resource: tuple[dict[str, Any], dict[str, Any]] | None = None

    @property
    def idle(self) -> bool:
        """Whether it changes nothing."""
        return self._content and self._finder is None and not self._patterns and not self._keys

    def text(self, text: str) -> str:
        """A text without what the rules name."""
        if len(text) < _SHORTEST and not self._patterns:
            return text
        made = self._finder.mask(text) if self._finder is not None else text
        for pattern, replacement in self._patterns:
            made = pattern.sub(replacement, made)
        return made

    def value(self, value: Any, depth: int = 0) -> Any:
        """A JSON value without what the rules name."""
        if isinstance(value, str):
            return self.text(value)
        if depth > _DEPTH:
            return "[MASKED]" if isinstance(value, dict | list) else value
        if isinstance(value, dict):
            return {key: self._field(str(key), inner, depth) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.value(inner, depth + 1) for inner in value]
        return self.text(value.decode(errors="replace")) if isinstance(value, bytes) else value

    def identity(self, value: str) -> str:
        """A user's or a session's name: one that is masked stays recognisable as the same one."""
        masked = self.text(value)
        if masked == value:
            return value
        mark = hmac.new(self._salt, value.encode(), hashlib.sha256).hexdigest()[:12]
        return f"{masked[:80]}:{mark}"

    def apply(self, records: Sequence[SpanRecord]) -> None:
        """Mask spans in place. Doing it again changes nothing more."""
        if self.idle:
            return
        for record in records:
            self._record(record)

    def _record(self, record: SpanRecord) -> None:
        held = record.payload
        record.name = self.text(record.name)
        if record.status_message is not None:
            record.status_message = self.text(record.status_message)
        if record.user is not None:
            record.user = self.identity(record.user)
        if record.session is not None:
            record.session = self.identity(record.session)
        record.payload = SpanPayload(
            input=self.value(held.input) if self._content else None,
            output=self.value(held.output) if self._content else None,
            attributes=self._attributes(held.attributes),
            events=[event | {"attributes": self._attributes(event["attributes"])} for event in held.events],
            links=[link | {"attributes": self._attributes(link["attributes"])} for link in held.links],
            resource=self._of_resource(held.resource),
            scope=held.scope,
        )

    def _attributes(self, attributes: dict[str, Any]) -> dict[str, Any]:
        if not self._content:
            attributes = {key: value for key, value in attributes.items() if _brief(value)}
        made: dict[str, Any] = self.value(attributes)
        return made

    def _of_resource(self, resource: dict[str, Any]) -> dict[str, Any]:
        # All spans of a sender share one dict: it is masked once and not changed.
        if self._resource is None or self._resource[0] is not resource:
            self._resource = (resource, self.value(resource))
        return self._resource[1]

    def _field(self, key: str, value: Any, depth: int) -> Any:
        if self._keys:
            replacement = self._named(key)
            if replacement is not None:
                return replacement
        return self.value(value, depth + 1)

    def _named(self, key: str) -> str | None:
        """What stands instead of this key's value, if a rule names the key."""
        if key not in self._seen:
            if len(self._seen) > 10_000:
                self._seen.clear()
            lower = key.lower()
            self._seen[key] = next((text for name, text in self._keys if fnmatchcase(lower, name)), None)
        return self._seen[key]


def _brief(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= BRIEF
    if isinstance(value, list):
        return len(value) <= BRIEF and all(_brief(one) and not isinstance(one, list | dict) for one in value)
    return not isinstance(value, dict | bytes)


def _literal(replacement: str) -> Callable[[Any], str]:
    return lambda _match: replacement
