"""Rows of rollouts, of their history, and of judged pairs."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tidemill.core.db import Json, UtcDateTime, metadata, row_values
from tidemill.rollouts.types import OPEN, Rollout, RolloutEvidence, RolloutState, RolloutStep, ShadowPair

rollouts = sa.Table(
    "rollouts",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("environment", sa.String(63), sa.ForeignKey("environments.name"), nullable=False),
    sa.Column("name", sa.String(63), nullable=False),
    sa.Column("strategy", sa.String(12), nullable=False),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("release_id", sa.String(40), nullable=False),
    sa.Column("release", sa.String(80), nullable=False),
    sa.Column("baseline_release_id", sa.String(40)),
    sa.Column("baseline_release", sa.String(80)),
    sa.Column("deployment_id", sa.String(40), nullable=False),
    sa.Column("baseline_deployment_id", sa.String(40)),
    sa.Column("steps", Json, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("step_at", UtcDateTime),
    sa.Column("weight", sa.Float, nullable=False),
    sa.Column("answers_before", sa.Integer, nullable=False),
    sa.Column("shadow", Json),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("forced", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("requested_by", sa.String(120), nullable=False),
    sa.Column("requested_at", UtcDateTime, nullable=False),
    sa.Column("began_at", UtcDateTime),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("evidence", Json),
    sa.Index("ix_rollouts_environment_name_id", "environment", "name", "id"),
    sa.Index("ix_rollouts_state", "state"),
)

steps = sa.Table(
    "rollout_steps",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("rollout_id", sa.String(40), sa.ForeignKey("rollouts.id"), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("move", sa.String(12), nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("weight", sa.Float, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("actor", sa.String(120), nullable=False),
    sa.Column("evidence", Json),
    sa.Index("ix_rollout_steps_rollout_id_id", "rollout_id", "id"),
)

pairs = sa.Table(
    "shadow_pairs",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("rollout_id", sa.String(40), sa.ForeignKey("rollouts.id"), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("call_id", sa.String(64), nullable=False),
    sa.Column("input", Json, nullable=False),
    sa.Column("live", sa.Text, nullable=False),
    sa.Column("shadow", sa.Text),
    sa.Column("verdict", sa.Float),
    sa.Column("live_ms", sa.Float, nullable=False),
    sa.Column("shadow_ms", sa.Float),
    sa.Column("tokens", sa.Integer, nullable=False),
    sa.Column("cost_usd", sa.Float),
    sa.Column("error", sa.Text),
    sa.Index("ix_shadow_pairs_rollout_id_id", "rollout_id", "id"),
)

_ROLLOUT_COLUMNS = [column for column in rollouts.c if column.name != "evidence"]


def insert(conn: sa.Connection, rollout: Rollout) -> None:
    """Write a new rollout."""
    values = rollout.model_dump(exclude={"steps", "shadow"})
    conn.execute(rollouts.insert().values(**values, **rollout.model_dump(mode="json", include={"steps", "shadow"})))


def change_state(conn: sa.Connection, rollout_id: str, before: RolloutState, **values: Any) -> bool:
    """Change columns of a rollout in the state `before`. Return False, changing nothing, when it is in another one."""
    if values.get("shadow") is not None:
        values["shadow"] = values["shadow"].model_dump(mode="json")
    statement = rollouts.update().where(rollouts.c.id == rollout_id, rollouts.c.state == before)
    return conn.execute(statement.values(**values)).rowcount == 1


def put_evidence(conn: sa.Connection, rollout_id: str, evidence: RolloutEvidence) -> None:
    """Write the newest evidence of a rollout."""
    values = {"evidence": evidence.model_dump(mode="json")}
    conn.execute(rollouts.update().where(rollouts.c.id == rollout_id).values(**values))


def find_evidence(conn: sa.Connection, rollout_id: str) -> RolloutEvidence | None:
    """Return the evidence that was stored last; None without any."""
    evidence = conn.execute(sa.select(rollouts.c.evidence).where(rollouts.c.id == rollout_id)).scalar_one_or_none()
    return RolloutEvidence.model_validate(evidence) if evidence is not None else None


def get(conn: sa.Connection, rollout_id: str) -> Rollout | None:
    """Return a rollout, or None."""
    rows = _load(conn, sa.select(*_ROLLOUT_COLUMNS).where(rollouts.c.id == rollout_id))
    return rows[0] if rows else None


def find_open_by_deployment(conn: sa.Connection, deployment_id: str) -> Rollout | None:
    """Return the open rollout of which a deployment is the candidate or the baseline, or None."""
    query = sa.select(*_ROLLOUT_COLUMNS).where(
        rollouts.c.state.in_(OPEN),
        sa.or_(rollouts.c.deployment_id == deployment_id, rollouts.c.baseline_deployment_id == deployment_id),
    )
    rows = _load(conn, query.order_by(rollouts.c.id.desc()).limit(1))
    return rows[0] if rows else None


def list_open(conn: sa.Connection, environment: str | None = None, name: str | None = None) -> list[Rollout]:
    """Return open rollouts, oldest first."""
    query = sa.select(*_ROLLOUT_COLUMNS).where(rollouts.c.state.in_(OPEN)).order_by(rollouts.c.id)
    if environment is not None:
        query = query.where(rollouts.c.environment == environment)
    if name is not None:
        query = query.where(rollouts.c.name == name)
    return _load(conn, query)


def list_rollouts(
    conn: sa.Connection,
    *,
    environment: str | None,
    name: str | None,
    release_id: str | None,
    active: bool,
    before: str | None,
    limit: int,
) -> list[Rollout]:
    """Return rollouts, newest first."""
    query = sa.select(*_ROLLOUT_COLUMNS).order_by(rollouts.c.id.desc()).limit(limit)
    filters = ((rollouts.c.environment, environment), (rollouts.c.name, name), (rollouts.c.release_id, release_id))
    for column, value in filters:
        if value is not None:
            query = query.where(column == value)
    if active:
        query = query.where(rollouts.c.state.in_(OPEN))
    if before is not None:
        query = query.where(rollouts.c.id < before)
    return _load(conn, query)


def list_open_at(conn: sa.Connection, time: datetime, environment: str | None) -> list[Rollout]:
    """Return the rollouts that split traffic at a time."""
    ended = sa.or_(rollouts.c.ended_at.is_(None), rollouts.c.ended_at > time)
    query = sa.select(*_ROLLOUT_COLUMNS).where(rollouts.c.began_at <= time, ended).order_by(rollouts.c.id)
    if environment is not None:
        query = query.where(rollouts.c.environment == environment)
    return _load(conn, query)


def add_step(conn: sa.Connection, step: RolloutStep) -> None:
    """Write a step of the history."""
    values = step.model_dump(exclude={"evidence"})
    values["evidence"] = step.evidence.model_dump(mode="json") if step.evidence is not None else None
    conn.execute(steps.insert().values(**values))


def list_steps(conn: sa.Connection, rollout_id: str) -> list[RolloutStep]:
    """Return the history of a rollout, oldest first."""
    query = sa.select(steps).where(steps.c.rollout_id == rollout_id).order_by(steps.c.id)
    return [RolloutStep.model_validate(row_values(row)) for row in conn.execute(query)]


def find_weight_at(conn: sa.Connection, rollout_id: str, time: datetime) -> float:
    """Return the new release's weight at a time, in percent."""
    query = sa.select(steps.c.weight).where(steps.c.rollout_id == rollout_id, steps.c.at <= time)
    weight = conn.execute(query.order_by(steps.c.id.desc()).limit(1)).scalar_one_or_none()
    return float(weight) if weight is not None else 0.0


def insert_pairs(conn: sa.Connection, new_pairs: Sequence[ShadowPair]) -> None:
    """Write judged pairs."""
    if new_pairs:
        conn.execute(pairs.insert(), [pair.model_dump() for pair in new_pairs])


def count_pairs(conn: sa.Connection, calls: Sequence[str]) -> int:
    """Return how many pairs these calls have."""
    query = sa.select(sa.func.count()).select_from(pairs)
    return sum(conn.execute(query.where(pairs.c.call_id.in_(chunk))).scalar_one() for chunk in _chunks(calls))


def delete_pairs(conn: sa.Connection, calls: Sequence[str]) -> int:
    """Delete the pairs of these calls; return how many there were."""
    return sum(conn.execute(pairs.delete().where(pairs.c.call_id.in_(chunk))).rowcount for chunk in _chunks(calls))


def _chunks(calls: Sequence[str]) -> Iterator[Sequence[str]]:
    return (calls[at : at + 500] for at in range(0, len(calls), 500))


def list_pairs(
    conn: sa.Connection, rollout_id: str, *, after: str | None = None, before: str | None = None, limit: int
) -> list[ShadowPair]:
    """Return judged pairs: newest first, or with `after` the ones after it, oldest first."""
    query = sa.select(pairs).where(pairs.c.rollout_id == rollout_id).limit(limit)
    if after is not None:
        query = query.where(pairs.c.id > after).order_by(pairs.c.id)
    else:
        query = query.order_by(pairs.c.id.desc())
    if before is not None:
        query = query.where(pairs.c.id < before)
    return [ShadowPair.model_validate(row_values(row)) for row in conn.execute(query)]


def _load(conn: sa.Connection, query: sa.Select[*tuple[Any, ...]]) -> list[Rollout]:
    return [Rollout.model_validate(row_values(row)) for row in conn.execute(query)]
