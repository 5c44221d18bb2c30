"""Resolve references to releases and gates."""

from typing import Any

from tidemill.core.errors import nearest
from tidemill.core.kernel import Context
from tidemill.core.parsing import parse_number
from tidemill.releases import store
from tidemill.releases.types import Gate, GateNotFound, Release, ReleaseNotFound

FIRST_RELEASE = "There are no releases yet. Make one: tidemill releases create NAME --model MODEL"


def get_release(ctx: Context, ref: str) -> Release:
    """Return the release that `ref` means: `name` (newest), `name@3` or a `rel_` id. Raises ReleaseNotFound."""
    criteria = _parse_ref(ref, "rel_")
    release = store.find_release(ctx.conn, **criteria) if criteria is not None else None
    if release is None:
        names = store.list_release_names(ctx.conn)
        default_hint = "`tidemill releases list` shows what there is."
        hint = _hint(ref, names, default_hint if names else FIRST_RELEASE)
        raise ReleaseNotFound(f"There is no release {ref!r}.", hint=hint)
    return release


def get_gate(ctx: Context, ref: str) -> Gate:
    """Return the gate that `ref` means: `name` (newest), `name@3` or a `gate_` id. Raises GateNotFound."""
    criteria = _parse_ref(ref, "gate_")
    gate = store.find_gate(ctx.conn, **criteria) if criteria is not None else None
    if gate is None:
        hint = _hint(ref, store.list_gate_names(ctx.conn), "`tidemill gates list` shows what there is.")
        raise GateNotFound(f"There is no gate {ref!r}.", hint=hint)
    return gate


def _parse_ref(ref: str, prefix: str) -> dict[str, Any] | None:
    if ref.startswith(prefix):
        return {"id": ref}
    name, _, digits = ref.partition("@")
    if not digits:
        return {"name": name}
    number = parse_number(digits)
    return {"name": name, "number": number} if number is not None else None


def _hint(ref: str, names: list[str], otherwise: str) -> str:
    suggestions = nearest(ref.partition("@")[0], names)
    return f"Did you mean {', '.join(suggestions)}?" if suggestions else otherwise
