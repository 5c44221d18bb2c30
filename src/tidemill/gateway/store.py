"""Rows of gateway calls."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from tidemill.core.db import Json, UtcDateTime, metadata, row_values
from tidemill.gateway.types import Call

calls = sa.Table(
    "gateway_calls",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("request_id", sa.String(64), nullable=False),
    sa.Column("model", sa.String(200), nullable=False),
    sa.Column("release_id", sa.String(40)),
    sa.Column("model_version_id", sa.String(40)),
    sa.Column("environment", sa.String(63)),
    sa.Column("deployment_id", sa.String(40)),
    sa.Column("caller_id", sa.String(40), nullable=False),
    sa.Column("caller_name", sa.String(120), nullable=False),
    sa.Column("key_id", sa.String(40)),
    sa.Column("stream", sa.Boolean, nullable=False),
    sa.Column("status", sa.String(8), nullable=False),
    sa.Column("http_status", sa.Integer, nullable=False),
    sa.Column("error_code", sa.String(80)),
    sa.Column("finish_reason", sa.String(40)),
    sa.Column("prompt_tokens", sa.Integer, nullable=False),
    sa.Column("completion_tokens", sa.Integer, nullable=False),
    sa.Column("cached_tokens", sa.Integer, nullable=False),
    sa.Column("overrides", Json, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("ttft_ms", sa.Float),
    sa.Column("latency_ms", sa.Float, nullable=False),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime, nullable=False),
    sa.Index("ix_gateway_calls_release_id_id", "release_id", "id"),
    sa.Index("ix_gateway_calls_environment_id", "environment", "id"),
    sa.Index("ix_gateway_calls_caller_id_id", "caller_id", "id"),
)


def insert(conn: sa.Connection, batch: Sequence[Call]) -> None:
    """Write calls. One that is in the books already is left as it is."""
    ids = [call.id for call in batch]
    known = set(conn.execute(sa.select(calls.c.id).where(calls.c.id.in_(ids))).scalars())
    fresh = [call.model_dump() for call in batch if call.id not in known]
    if fresh:
        conn.execute(calls.insert(), fresh)


def get(conn: sa.Connection, call_id: str) -> Call | None:
    """One call, by the reply's id or the request id."""
    found = conn.execute(
        sa.select(calls).where(sa.or_(calls.c.id == call_id, calls.c.request_id == call_id)).limit(1)
    ).first()
    return Call.model_validate(row_values(found)) if found is not None else None


def listing(
    conn: sa.Connection,
    *,
    release_id: str | None,
    environment: str | None,
    caller: str | None,
    status: str | None,
    since: datetime | None,
    before: str | None,
    limit: int,
) -> list[Call]:
    """Calls, newest first."""
    query = sa.select(calls).order_by(calls.c.id.desc()).limit(limit)
    wanted = (
        (calls.c.release_id, release_id),
        (calls.c.environment, environment),
        (calls.c.caller_name, caller),
        (calls.c.status, status),
    )
    for column, value in wanted:
        if value is not None:
            query = query.where(column == value)
    if since is not None:
        query = query.where(calls.c.started_at >= since)
    if before is not None:
        query = query.where(calls.c.id < before)
    return [Call.model_validate(row_values(row)) for row in conn.execute(query)]
