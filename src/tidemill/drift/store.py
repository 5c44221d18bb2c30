"""Rows of drift monitors and reports, and the vectors of texts that were embedded before."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from tidemill.core.db import Json, UtcDateTime, advisory_lock, metadata
from tidemill.drift.types import DriftMonitor, DriftReport

monitors = sa.Table(
    "drift_monitors",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(63), nullable=False, unique=True),
    sa.Column("spec", Json, nullable=False),
    sa.Column("created_by", sa.String(120), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("checked_at", UtcDateTime),
)

reports = sa.Table(
    "drift_reports",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("monitor_id", sa.String(40), nullable=False),
    sa.Column("job_id", sa.String(40), unique=True),
    sa.Column("verdict", sa.String(12), nullable=False),
    sa.Column("report", Json, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Index("ix_drift_reports_monitor_id_id", "monitor_id", "id"),
)

vectors = sa.Table(
    "text_vectors",
    metadata,
    sa.Column("model", sa.String(63), primary_key=True),
    sa.Column("text_hash", sa.String(64), primary_key=True),
    sa.Column("vector", sa.LargeBinary, nullable=False),
    sa.Column("used_at", UtcDateTime, nullable=False),
    sa.Index("ix_text_vectors_used_at", "used_at"),
)

_AT_ONCE = 500
"""Values in one IN list."""

_OWN = {"id", "name", "created_by", "created_at"}


def lock(conn: sa.Connection, what: str) -> None:
    """Let nobody else name or check the same thing until the transaction ends."""
    advisory_lock(conn, what)


def insert_monitor(conn: sa.Connection, monitor: DriftMonitor) -> None:
    """Write a new monitor."""
    own = {"id": monitor.id, "name": monitor.name, "created_by": monitor.created_by, "created_at": monitor.created_at}
    conn.execute(monitors.insert().values(**own, spec=monitor.model_dump(mode="json", exclude=_OWN)))


def monitor_by(conn: sa.Connection, **where: str) -> DriftMonitor | None:
    """One monitor by its id or name."""
    row = conn.execute(sa.select(monitors).filter_by(**where)).first()
    return _monitor(row._mapping) if row is not None else None


def list_monitors(conn: sa.Connection, *, after: str | None, limit: int) -> list[DriftMonitor]:
    """Monitors by name."""
    query = sa.select(monitors).order_by(monitors.c.name).limit(limit)
    if after is not None:
        query = query.where(monitors.c.name > after)
    return [_monitor(row._mapping) for row in conn.execute(query)]


def checked(conn: sa.Connection) -> list[tuple[DriftMonitor, datetime | None]]:
    """Every monitor and when it was last checked."""
    rows = conn.execute(sa.select(monitors).order_by(monitors.c.name)).all()
    return [(_monitor(row._mapping), row.checked_at) for row in rows]


def update_monitor(conn: sa.Connection, monitor: DriftMonitor) -> None:
    """Write what a monitor watches, over what it watched; it is due at once."""
    spec = monitor.model_dump(mode="json", exclude=_OWN)
    conn.execute(monitors.update().where(monitors.c.id == monitor.id).values(spec=spec, checked_at=None))


def delete_monitor(conn: sa.Connection, monitor_id: str) -> None:
    """Remove a monitor; its reports stay."""
    conn.execute(monitors.delete().where(monitors.c.id == monitor_id))


def insert_report(conn: sa.Connection, report: DriftReport, job_id: str | None) -> None:
    """Write a report, and that the monitor was checked."""
    conn.execute(
        reports.insert().values(
            id=report.id,
            monitor_id=report.monitor_id,
            job_id=job_id,
            verdict=report.verdict,
            report=report.model_dump(mode="json"),
            created_at=report.created_at,
        )
    )
    conn.execute(monitors.update().where(monitors.c.id == report.monitor_id).values(checked_at=report.created_at))


def report_by(conn: sa.Connection, **where: str) -> DriftReport | None:
    """One report by its id, or the one that a job made."""
    row = conn.execute(sa.select(reports.c.report).filter_by(**where)).first()
    return DriftReport.model_validate(row.report) if row is not None else None


def list_reports(conn: sa.Connection, monitor_id: str, *, before: str | None, limit: int) -> list[DriftReport]:
    """Reports of a monitor, newest first."""
    query = sa.select(reports.c.report).where(reports.c.monitor_id == monitor_id)
    if before is not None:
        query = query.where(reports.c.id < before)
    rows = conn.execute(query.order_by(reports.c.id.desc()).limit(limit))
    return [DriftReport.model_validate(row.report) for row in rows]


def _monitor(row: Mapping[Any, Any]) -> DriftMonitor:
    return DriftMonitor.model_validate({name: row[name] for name in _OWN} | dict(row["spec"]))


def known_vectors(conn: sa.Connection, model: str, hashes: Sequence[str]) -> dict[str, bytes]:
    """The vectors of those texts that were embedded before."""
    found: dict[str, bytes] = {}
    for start in range(0, len(hashes), _AT_ONCE):
        some = hashes[start : start + _AT_ONCE]
        query = sa.select(vectors.c.text_hash, vectors.c.vector)
        for row in conn.execute(query.where(vectors.c.model == model, vectors.c.text_hash.in_(some))):
            found[row.text_hash] = bytes(row.vector)
    return found


def keep_vectors(conn: sa.Connection, model: str, made: Mapping[str, bytes], now: datetime) -> None:
    """Keep vectors; of a text that another check has embedded meanwhile, the first stays."""
    insert = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
    rows = [{"model": model, "text_hash": h, "vector": v, "used_at": now} for h, v in made.items()]
    if rows:
        conn.execute(insert(vectors).on_conflict_do_nothing(), rows)


def touch_vectors(
    conn: sa.Connection, model: str, hashes: Sequence[str], now: datetime, *, unless_since: datetime
) -> None:
    """Note that vectors are in use; those used after `unless_since` are left alone."""
    for start in range(0, len(hashes), _AT_ONCE):
        some = hashes[start : start + _AT_ONCE]
        chosen = (vectors.c.model == model, vectors.c.text_hash.in_(some), vectors.c.used_at < unless_since)
        conn.execute(vectors.update().where(*chosen).values(used_at=now))


def forget_vectors(conn: sa.Connection, unused_since: datetime) -> int:
    """Remove the vectors that were not used for long; how many."""
    return conn.execute(vectors.delete().where(vectors.c.used_at < unused_since)).rowcount
