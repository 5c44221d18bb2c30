"""The table of retirements."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tidemill.core.db import UtcDateTime, metadata, row_values
from tidemill.deployments.retirements.types import Retirement

retirements = sa.Table(
    "retirements",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("environment", sa.String(63), sa.ForeignKey("environments.name"), nullable=False),
    sa.Column("name", sa.String(63), nullable=False),
    sa.Column("sunset", UtcDateTime, nullable=False),
    sa.Column("successor", sa.String(200), nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("announced_by", sa.String(120), nullable=False),
    sa.Column("announced_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("cancelled_at", UtcDateTime),
    sa.Index("ix_retirements_environment_name", "environment", "name"),
)


def insert(conn: sa.Connection, retirement: Retirement) -> None:
    """Write a new retirement."""
    conn.execute(retirements.insert().values(**retirement.model_dump()))


def end(conn: sa.Connection, retirement_id: str, at: datetime) -> bool:
    """Set when a name went out of service. Return False, changing nothing, when it did before or was cancelled."""
    return _change(conn, retirement_id, retirements.c.ended_at.is_(None), ended_at=at)


def cancel(conn: sa.Connection, retirement_id: str, at: datetime) -> bool:
    """Set when a retirement was cancelled. Return False, changing nothing, when it was before."""
    return _change(conn, retirement_id, cancelled_at=at)


def _change(conn: sa.Connection, retirement_id: str, *where: sa.ColumnElement[bool], **values: Any) -> bool:
    uncancelled = (retirements.c.id == retirement_id, retirements.c.cancelled_at.is_(None))
    return conn.execute(retirements.update().where(*uncancelled, *where).values(**values)).rowcount == 1


def list_uncancelled(conn: sa.Connection, environment: str | None = None, name: str | None = None) -> list[Retirement]:
    """Return the retirements that were not cancelled, oldest first: those to come and those that have ended."""
    query = sa.select(retirements).where(retirements.c.cancelled_at.is_(None)).order_by(retirements.c.id)
    if environment is not None:
        query = query.where(retirements.c.environment == environment)
    if name is not None:
        query = query.where(retirements.c.name == name)
    return [Retirement.model_validate(row_values(row)) for row in conn.execute(query)]
