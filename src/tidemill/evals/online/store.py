"""Rows of online evaluators, and of the corrections that wait for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tidemill.core.db import Json, UtcDateTime, metadata, row_values
from tidemill.evals.types import OnlineCreate, OnlineEvaluator

evaluators = sa.Table(
    "online_evaluators",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(63), nullable=False, unique=True),
    sa.Column("spec", Json, nullable=False),
    sa.Column("state", sa.String(8), nullable=False),
    sa.Column("position", sa.Text, nullable=False),
    sa.Column("counts", Json, nullable=False),
    sa.Column("day", sa.String(10)),
    sa.Column("judged_today", sa.Integer, nullable=False),
    sa.Column("spent_today", sa.Float, nullable=False, server_default="0"),
    sa.Column("resumes_at", UtcDateTime),
    sa.Column("last_error", sa.Text),
    sa.Column("scored_at", UtcDateTime),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("created_by", sa.String(120), nullable=False),
)

corrections = sa.Table(
    "online_corrections",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("evaluator_id", sa.String(40), sa.ForeignKey("online_evaluators.id"), nullable=False),
    sa.Column("score_id", sa.String(40), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Index("ix_online_corrections_evaluator_id_id", "evaluator_id", "id"),
)


@dataclass(frozen=True)
class PendingCorrection:
    """A correction that an evaluator has not scored with yet."""

    id: str
    evaluator_id: str
    score_id: str


def insert(conn: sa.Connection, evaluator: OnlineEvaluator, position: str) -> None:
    """Insert an evaluator with the position it starts at."""
    conn.execute(evaluators.insert().values(**_values(evaluator), position=position))


def change(conn: sa.Connection, evaluator_id: str, **values: Any) -> None:
    """Write some columns of an evaluator. What follows from its row is read with `lock` first."""
    conn.execute(evaluators.update().where(evaluators.c.id == evaluator_id).values(**values))


def advance_position(conn: sa.Connection, evaluator_id: str, before: str, after: str) -> bool:
    """Advance the position; False when another process has changed it since it was read."""
    here = (evaluators.c.id == evaluator_id, evaluators.c.position == before)
    return conn.execute(evaluators.update().where(*here).values(position=after)).rowcount == 1


def delete(conn: sa.Connection, evaluator_id: str) -> None:
    """Delete an evaluator and its queued corrections."""
    conn.execute(corrections.delete().where(corrections.c.evaluator_id == evaluator_id))
    conn.execute(evaluators.delete().where(evaluators.c.id == evaluator_id))


def by_name(conn: sa.Connection, name: str) -> OnlineEvaluator | None:
    """Return the evaluator of a name, or None."""
    matches = _all(conn, sa.select(evaluators).where(evaluators.c.name == name))
    return matches[0] if matches else None


def lock(conn: sa.Connection, evaluator_id: str) -> OnlineEvaluator | None:
    """Return the evaluator of an id, or None, and let no other transaction change it until this one ends."""
    matches = _all(conn, sa.select(evaluators).where(evaluators.c.id == evaluator_id).with_for_update())
    return matches[0] if matches else None


def list_evaluators(conn: sa.Connection) -> list[OnlineEvaluator]:
    """Return every evaluator, sorted by name."""
    return _all(conn, sa.select(evaluators).order_by(evaluators.c.name))


def get_position(conn: sa.Connection, evaluator_id: str) -> str | None:
    """Return the position up to which an evaluator has read; None for one that is gone."""
    query = sa.select(evaluators.c.position).where(evaluators.c.id == evaluator_id)
    return conn.execute(query).scalar_one_or_none()


def add_corrections(conn: sa.Connection, waiting: Sequence[PendingCorrection], at: datetime) -> None:
    """Queue corrections for the evaluators that wait for them."""
    if waiting:
        rows = [{"id": w.id, "evaluator_id": w.evaluator_id, "score_id": w.score_id, "at": at} for w in waiting]
        conn.execute(corrections.insert(), rows)


def list_pending(conn: sa.Connection, evaluator_id: str, limit: int) -> list[PendingCorrection]:
    """Return the evaluator's queued corrections, oldest first."""
    query = sa.select(corrections).where(corrections.c.evaluator_id == evaluator_id)
    rows = conn.execute(query.order_by(corrections.c.id).limit(limit))
    return [PendingCorrection(row.id, row.evaluator_id, row.score_id) for row in rows]


def remove_pending(conn: sa.Connection, waiting_ids: Sequence[str]) -> bool:
    """Remove corrections from the queue. Return False, removing none, when another process has removed one of them."""
    here = corrections.c.id.in_(waiting_ids)
    if len(conn.execute(sa.select(corrections.c.id).where(here).with_for_update()).all()) < len(waiting_ids):
        return False
    conn.execute(corrections.delete().where(here))
    return True


def spec_values(spec: OnlineCreate) -> dict[str, Any]:
    """Return the settings of an evaluator as their column holds them."""
    return spec.model_dump(mode="json", exclude_none=True)


def _values(evaluator: OnlineEvaluator) -> dict[str, Any]:
    values = evaluator.model_dump(exclude={"spec", "release", "counts", "waiting"})
    return values | {"spec": spec_values(evaluator.spec), "counts": evaluator.counts.model_dump()}


def _all(conn: sa.Connection, query: sa.Select[*tuple[Any, ...]]) -> list[OnlineEvaluator]:
    rows = [row_values(row) for row in conn.execute(query)]
    ids = [row["id"] for row in rows]
    counts = sa.select(corrections.c.evaluator_id, sa.func.count()).where(corrections.c.evaluator_id.in_(ids))
    queued = {row[0]: row[1] for row in conn.execute(counts.group_by(corrections.c.evaluator_id))}
    return [
        OnlineEvaluator.model_validate(
            {k: v for k, v in row.items() if k != "position"} | {"waiting": queued.get(row["id"], 0)}
        )
        for row in rows
    ]
