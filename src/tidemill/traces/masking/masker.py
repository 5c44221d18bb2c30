"""The masker: caches the mask for the trace writer, which applies it before anything is stored."""

import secrets
from collections.abc import Sequence

from tidemill.core.actors import SYSTEM
from tidemill.core.db import advisory_lock
from tidemill.core.kernel import Context, Kernel
from tidemill.data import service as data
from tidemill.data.types import PII_KINDS, PiiKind
from tidemill.traces.masking import store
from tidemill.traces.masking.mask import Mask
from tidemill.traces.ttl_cache import TtlCache
from tidemill.traces.types import SpanRecord
from tidemill.traces.types.masking import MaskingKindUnknown, MaskingRule


def parse_kinds(setting: str) -> tuple[PiiKind, ...]:
    """Return the kinds that TIDEMILL_TRACE_MASK names: a list with commas, or `all`. Raises MaskingKindUnknown."""
    words = [word.strip().lower() for word in setting.split(",") if word.strip()]
    if words == ["all"]:
        return PII_KINDS
    unknown = [word for word in words if word not in PII_KINDS]
    if unknown:
        raise MaskingKindUnknown(
            f"TIDEMILL_TRACE_MASK names {unknown[0]!r}.", hint=f"Kinds are {', '.join(PII_KINDS)}; or write all."
        )
    return tuple(kind for kind in PII_KINDS if kind in words)


def build_mask(
    always: Sequence[PiiKind], rules: Sequence[MaskingRule], *, regions: tuple[str, ...], content: bool, salt: str
) -> Mask:
    """Return the mask for the kinds of the setting and some rules; national phone numbers of `regions`."""
    kinds_in_use = {*always, *(kind for rule in rules for kind in rule.kinds)}
    kinds = tuple(kind for kind in PII_KINDS if kind in kinds_in_use)
    return Mask(data.pii_finder(kinds, regions) if kinds else None, rules, content=content, salt=salt)


class Masker:
    """Masks spans by the setting and the present rules. Nothing is stored while the rules cannot be read."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.always = parse_kinds(kernel.settings.trace_mask)
        self.regions = data.parse_phone_regions(kernel.settings.phone_regions)
        self.content = kernel.settings.trace_content == "on"
        self._mask = TtlCache(self._load)

    def invalidate(self) -> None:
        """Read the rules again before the next span."""
        self._mask.invalidate()

    def apply(self, records: Sequence[SpanRecord]) -> None:
        """Mask spans in place; called in the writer's thread."""
        self._mask.get().apply(records)

    def load_mask(self, ctx: Context) -> Mask:
        """Return a mask for the use of one thread, by the rules as this transaction sees them. Queries the database."""
        salt = store.get_salt(ctx.conn, "pseudonyms") or ""
        return build_mask(self.always, store.list_rules(ctx.conn), regions=self.regions, content=True, salt=salt)

    def _load(self) -> Mask:
        with self._kernel.read(SYSTEM) as ctx:
            rules, salt = store.list_rules(ctx.conn), store.get_salt(ctx.conn, "pseudonyms")
        if salt is None and (rules or self.always):
            salt = self._make_salt()
        return build_mask(self.always, rules, regions=self.regions, content=self.content, salt=salt or "")

    def _make_salt(self) -> str:
        """Return the salt, stored so that pseudonyms of one database agree and nobody outside can compute them."""
        with self._kernel.write(SYSTEM) as ctx:
            advisory_lock(ctx.conn, "trace salt")
            salt = store.get_salt(ctx.conn, "pseudonyms")
            if salt is None:
                salt = secrets.token_hex(32)
                store.insert_salt(ctx.conn, "pseudonyms", salt)
        return salt
