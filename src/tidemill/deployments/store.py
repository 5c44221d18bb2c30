"""Rows of environments and deployments."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tidemill.core.db import UtcDateTime, metadata, row_values
from tidemill.deployments.types import Deployment, OverridePolicy

environments = sa.Table(
    "environments",
    metadata,
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("overrides", sa.String(8), nullable=False, server_default="allow"),
)

deployments = sa.Table(
    "deployments",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("environment", sa.String(63), sa.ForeignKey("environments.name"), nullable=False),
    sa.Column("name", sa.String(63), nullable=False),
    sa.Column("release_id", sa.String(40), nullable=False),
    sa.Column("release", sa.String(80), nullable=False),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("kind", sa.String(12), nullable=False),
    sa.Column("replicas", sa.Integer, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("forced", sa.Text),
    sa.Column("approval_id", sa.String(40)),
    sa.Column("requested_by", sa.String(120), nullable=False),
    sa.Column("requested_at", UtcDateTime, nullable=False),
    sa.Column("live_at", UtcDateTime),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("error", sa.Text),
    sa.Column("rollout_id", sa.String(40)),
    sa.Index("ix_deployments_environment_name_id", "environment", "name", "id"),
    sa.Index("ix_deployments_state", "state"),
)

ACTIVE = ("starting", "canary", "live")


def list_environments(conn: sa.Connection) -> list[tuple[str, int, OverridePolicy]]:
    """Return names, positions and what becomes of overrides, in the order of promotion."""
    rows = conn.execute(sa.select(environments).order_by(environments.c.position))
    return [(row.name, row.position, row.overrides) for row in rows]


def update_environment(conn: sa.Connection, name: str, *, overrides: OverridePolicy) -> bool:
    """Change an environment. Return False, changing nothing, when it has that value already or is not there."""
    statement = environments.update().where(environments.c.name == name, environments.c.overrides != overrides)
    return conn.execute(statement.values(overrides=overrides)).rowcount == 1


def insert(conn: sa.Connection, deployment: Deployment) -> None:
    """Write a new deployment."""
    conn.execute(deployments.insert().values(**deployment.model_dump()))


def change_state(conn: sa.Connection, deployment_id: str, before: Collection[str], **values: Any) -> bool:
    """Update a deployment that is in one of the states `before`. Return False, changing nothing, when it is not."""
    statement = deployments.update().where(deployments.c.id == deployment_id, deployments.c.state.in_(before))
    return conn.execute(statement.values(**values)).rowcount == 1


def get(conn: sa.Connection, deployment_id: str) -> Deployment | None:
    """Return a deployment, or None."""
    rows = _load(conn, sa.select(deployments).where(deployments.c.id == deployment_id))
    return rows[0] if rows else None


def list_active(conn: sa.Connection, environment: str | None = None, name: str | None = None) -> list[Deployment]:
    """Return starting, canary and live deployments, oldest first."""
    query = sa.select(deployments).where(deployments.c.state.in_(ACTIVE)).order_by(deployments.c.id)
    if environment is not None:
        query = query.where(deployments.c.environment == environment)
    if name is not None:
        query = query.where(deployments.c.name == name)
    return _load(conn, query)


def was_live(conn: sa.Connection, release_id: str, environment: str) -> bool:
    """Return whether a release is or was live in an environment."""
    query = sa.select(deployments.c.id).where(
        deployments.c.release_id == release_id,
        deployments.c.environment == environment,
        deployments.c.live_at.is_not(None),
    )
    return conn.execute(query.limit(1)).first() is not None


def list_by_name(conn: sa.Connection, environment: str, name: str, *, since: datetime) -> list[Deployment]:
    """Return every deployment of a name that had not ended at `since`, oldest first."""
    ended = sa.or_(deployments.c.ended_at.is_(None), deployments.c.ended_at > since)
    query = sa.select(deployments).where(deployments.c.environment == environment, deployments.c.name == name, ended)
    return _load(conn, query.order_by(deployments.c.id))


def list_past(conn: sa.Connection, environment: str, name: str, limit: int) -> list[Deployment]:
    """Return ended deployments that were live, newest first."""
    query = (
        sa.select(deployments)
        .where(
            deployments.c.environment == environment,
            deployments.c.name == name,
            deployments.c.live_at.is_not(None),
            deployments.c.ended_at.is_not(None),
        )
        .order_by(deployments.c.live_at.desc())
        .limit(limit)
    )
    return _load(conn, query)


def list_deployments(
    conn: sa.Connection,
    *,
    environment: str | None,
    name: str | None,
    at: datetime | None,
    active_only: bool,
    before: str | None,
    limit: int | None,
) -> list[Deployment]:
    """Return deployments, newest first, all of them without a limit; with `at` those that served at that time."""
    query = sa.select(deployments).order_by(deployments.c.id.desc()).limit(limit)
    if environment is not None:
        query = query.where(deployments.c.environment == environment)
    if name is not None:
        query = query.where(deployments.c.name == name)
    if active_only:
        query = query.where(deployments.c.state.in_(ACTIVE))
    if at is not None:
        ended = sa.or_(deployments.c.ended_at.is_(None), deployments.c.ended_at > at)
        query = query.where(deployments.c.live_at <= at, ended)
    if before is not None:
        query = query.where(deployments.c.id < before)
    return _load(conn, query)


def _load(conn: sa.Connection, query: sa.Select[*tuple[Any, ...]]) -> list[Deployment]:
    return [Deployment.model_validate(row_values(row)) for row in conn.execute(query)]
