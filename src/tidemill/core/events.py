"""Facts: what happened, who did it and when, written in the same transaction as the change itself."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tidemill.core.db import Json, UtcDateTime, metadata
from tidemill.core.event_types import Event
from tidemill.core.kernel import Context
from tidemill.core.wire import new_id

__all__ = ["Event", "emit", "events", "list_events", "notify"]

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("kind", sa.String(80), nullable=False),
    sa.Column("subject", sa.String(120), nullable=False),
    sa.Column("actor_id", sa.String(40), nullable=False),
    sa.Column("actor_name", sa.String(120), nullable=False),
    sa.Column("data", Json, nullable=False),
    sa.Index("ix_events_kind_id", "kind", "id"),
    sa.Index("ix_events_subject_id", "subject", "id"),
)


def emit(ctx: Context, kind: str, subject: str, data: dict[str, Any] | None = None) -> Event:
    """Record that `kind` happened to `subject`, in this transaction, and call the listeners of `kind`."""
    event = _event(ctx, kind, subject, data)
    ctx.conn.execute(events.insert().values(**event.model_dump()))
    _call_listeners(ctx, event)
    return event


def notify(ctx: Context, kind: str, subject: str, data: dict[str, Any] | None = None) -> None:
    """Call the listeners of `kind` without a record, for what happens too often to be kept, such as a check."""
    _call_listeners(ctx, _event(ctx, kind, subject, data))


def _event(ctx: Context, kind: str, subject: str, data: dict[str, Any] | None) -> Event:
    return Event(
        id=new_id("evt"),
        at=ctx.now,
        kind=kind,
        subject=subject,
        actor_id=ctx.actor.id,
        actor_name=ctx.actor.name,
        data=data or {},
    )


def _call_listeners(ctx: Context, event: Event) -> None:
    for listener in ctx.kernel.listeners.get(event.kind, ()):
        listener(ctx, event)


def list_events(
    conn: sa.Connection,
    *,
    kind: str | None = None,
    subject: str | None = None,
    actor: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    before: str | None = None,
    limit: int | None = 50,
) -> list[Event]:
    """Return events, newest first, all of them with a limit of None.

    `kind` may end in `.` to match a prefix; `actor` is an id or a name.
    """
    query = sa.select(events).order_by(events.c.id.desc()).limit(limit)
    if kind is not None:
        matches = events.c.kind.startswith(kind, autoescape=True) if kind.endswith(".") else events.c.kind == kind
        query = query.where(matches)
    if subject is not None:
        query = query.where(events.c.subject == subject)
    if actor is not None:
        query = query.where(sa.or_(events.c.actor_id == actor, events.c.actor_name == actor))
    if since is not None:
        query = query.where(events.c.at >= since)
    if until is not None:
        query = query.where(events.c.at < until)
    if before is not None:
        query = query.where(events.c.id < before)
    return [Event.model_validate(dict(row._mapping)) for row in conn.execute(query)]
