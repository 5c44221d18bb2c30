"""What a reference to a release or a gate means."""

from typing import Any

from tidemill.core.errors import nearest
from tidemill.core.kernel import Context
from tidemill.releases import store
from tidemill.releases.types import Gate, GateNotFound, Release, ReleaseNotFound

FIRST_RELEASE = "There are no releases yet. Make one: tidemill releases create NAME --model MODEL"


def get_release(ctx: Context, ref: str) -> Release:
    """The release that `ref` means: `name` (newest), `name@3` or a `rel_` id. Raises ReleaseNotFound."""
    where = _where(ref, "rel_")
    found = store.release_by(ctx.conn, **where) if where is not None else None
    if found is None:
        names = store.release_names(ctx.conn)
        otherwise = "`tidemill releases list` shows what there is."
        hint = _near(ref, names, otherwise if names else FIRST_RELEASE)
        raise ReleaseNotFound(f"There is no release {ref!r}.", hint=hint)
    return found


def get_gate(ctx: Context, ref: str) -> Gate:
    """The gate that `ref` means: `name` (newest), `name@3` or a `gate_` id. Raises GateNotFound."""
    where = _where(ref, "gate_")
    found = store.gate_by(ctx.conn, **where) if where is not None else None
    if found is None:
        hint = _near(ref, store.gate_names(ctx.conn), "`tidemill gates list` shows what there is.")
        raise GateNotFound(f"There is no gate {ref!r}.", hint=hint)
    return found


def _where(ref: str, prefix: str) -> dict[str, Any] | None:
    if ref.startswith(prefix):
        return {"id": ref}
    name, _, number = ref.partition("@")
    if not number:
        return {"name": name}
    return {"name": name, "number": int(number)} if number.isdecimal() and len(number) < 10 else None


def _near(ref: str, names: list[str], otherwise: str) -> str:
    near = nearest(ref.partition("@")[0], names)
    return f"Did you mean {', '.join(near)}?" if near else otherwise
