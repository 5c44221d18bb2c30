"""What objectives and indicators share: both are kept by name as a spec, and take turns in the scheduler."""

from typing import Any, Literal

from tidemill.core import events
from tidemill.core.errors import NotFound, nearest
from tidemill.core.kernel import Context
from tidemill.core.wire import new_id
from tidemill.monitors.store import objectives as store

Kind = Literal["slo", "kpi"]


def turn_key(kind: Kind, name: str) -> str:
    """Under which the scheduler takes turns."""
    return f"{kind}:{name}"


def fields(row: dict[str, Any]) -> dict[str, Any]:
    """The spec with who saved it and when."""
    saved: dict[str, Any] = row["spec"] | {key: row[key] for key in ("id", "name", "saved_by", "saved_at")}
    return saved


def put(ctx: Context, kind: Kind, name: str, spec: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Make or change one; returns it, and whether there was another spec under its name before."""
    known = store.by_name(ctx.conn, kind, name)
    if known is not None and known["spec"] == spec:
        return known, False
    row: dict[str, Any] = {
        "id": known["id"] if known is not None else new_id(kind),
        "kind": kind,
        "name": name,
        "spec": spec,
        "saved_by": ctx.actor.name,
        "saved_at": ctx.now,
        "summary": "",
        "verdict": None,
        "checked_at": None,
    }
    store.put(ctx.conn, row)
    store.forget_turn(ctx.conn, turn_key(kind, name))
    events.emit(ctx, f"{kind}.saved", row["id"], {"name": name, **spec})
    return row, known is not None


def get(ctx: Context, kind: Kind, name: str, what: str, error: type[NotFound]) -> dict[str, Any]:
    """One by name; raises `error`, which names those like it."""
    row = store.by_name(ctx.conn, kind, name)
    if row is None:
        near = nearest(name, [known["name"] for known in store.listing(ctx.conn, kind)])
        hint = f"Did you mean {', '.join(near)}?" if near else f"`tidemill {kind} list` shows what there is."
        raise error(f"There is no {what} {name!r}.", hint=hint)
    return row


def remove(ctx: Context, kind: Kind, name: str, row_id: str) -> None:
    """Look at it no longer."""
    store.delete(ctx.conn, row_id)
    store.forget_turn(ctx.conn, turn_key(kind, name))
    events.emit(ctx, f"{kind}.removed", row_id, {"name": name})
