"""Tables of drift monitors and reports, and the cached vectors of texts."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tidemill.core.db import Json, UtcDateTime, advisory_lock, insert_new, metadata
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

_CHUNK = 500
"""Values in one IN list."""

_OWN = {"id", "name", "created_by", "created_at"}


def lock(conn: sa.Connection, name: str) -> None:
    """Hold the advisory lock of this name until the transaction ends."""
    advisory_lock(conn, name)


def insert_monitor(conn: sa.Connection, monitor: DriftMonitor) -> None:
    """Write a new monitor."""
    own = {"id": monitor.id, "name": monitor.name, "created_by": monitor.created_by, "created_at": monitor.created_at}
    conn.execute(monitors.insert().values(**own, spec=monitor.model_dump(mode="json", exclude=_OWN)))


def find_monitor(conn: sa.Connection, **where: str) -> DriftMonitor | None:
    """Return one monitor by its id or name."""
    row = conn.execute(sa.select(monitors).filter_by(**where)).first()
    return _monitor(row._mapping) if row is not None else None


def list_monitors(conn: sa.Connection, *, after: str | None, limit: int) -> list[DriftMonitor]:
    """Return monitors ordered by name."""
    query = sa.select(monitors).order_by(monitors.c.name).limit(limit)
    if after is not None:
        query = query.where(monitors.c.name > after)
    return [_monitor(row._mapping) for row in conn.execute(query)]


def list_with_check_times(conn: sa.Connection) -> list[tuple[DriftMonitor, datetime | None]]:
    """Return every monitor and when it was last checked, ordered by name."""
    rows = conn.execute(sa.select(monitors).order_by(monitors.c.name)).all()
    return [(_monitor(row._mapping), row.checked_at) for row in rows]


def update_monitor(conn: sa.Connection, monitor: DriftMonitor) -> None:
    """Replace what a monitor watches; its next check is due at once."""
    spec = monitor.model_dump(mode="json", exclude=_OWN)
    conn.execute(monitors.update().where(monitors.c.id == monitor.id).values(spec=spec, checked_at=None))


def delete_monitor(conn: sa.Connection, monitor_id: str) -> None:
    """Remove a monitor; its reports stay."""
    conn.execute(monitors.delete().where(monitors.c.id == monitor_id))


def insert_report(conn: sa.Connection, report: DriftReport, job_id: str | None) -> None:
    """Write a report."""
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


def record_check(conn: sa.Connection, monitor_id: str, at: datetime) -> None:
    """Write when a monitor was checked."""
    conn.execute(monitors.update().where(monitors.c.id == monitor_id).values(checked_at=at))


def find_report(conn: sa.Connection, **where: str) -> DriftReport | None:
    """Return one report by its id or its job's id."""
    row = conn.execute(sa.select(reports.c.report).filter_by(**where)).first()
    return DriftReport.model_validate(row.report) if row is not None else None


def list_reports(conn: sa.Connection, monitor_id: str, *, before: str | None, limit: int) -> list[DriftReport]:
    """Return reports of a monitor, newest first."""
    query = sa.select(reports.c.report).where(reports.c.monitor_id == monitor_id)
    if before is not None:
        query = query.where(reports.c.id < before)
    rows = conn.execute(query.order_by(reports.c.id.desc()).limit(limit))
    return [DriftReport.model_validate(row.report) for row in rows]


def _monitor(row: Mapping[Any, Any]) -> DriftMonitor:
    return DriftMonitor.model_validate({name: row[name] for name in _OWN} | dict(row["spec"]))


def load_vectors(conn: sa.Connection, model: str, hashes: Sequence[str]) -> dict[str, bytes]:
    """Return the stored vectors by text hash; texts that were never embedded are absent."""
    vectors_by_hash: dict[str, bytes] = {}
    for start in range(0, len(hashes), _CHUNK):
        chunk = hashes[start : start + _CHUNK]
        query = sa.select(vectors.c.text_hash, vectors.c.vector)
        for row in conn.execute(query.where(vectors.c.model == model, vectors.c.text_hash.in_(chunk))):
            vectors_by_hash[row.text_hash] = bytes(row.vector)
    return vectors_by_hash


def insert_vectors(conn: sa.Connection, model: str, vectors_by_hash: Mapping[str, bytes], now: datetime) -> None:
    """Insert vectors; a vector that another check has stored meanwhile stays."""
    rows = [{"model": model, "text_hash": h, "vector": v, "used_at": now} for h, v in vectors_by_hash.items()]
    insert_new(conn, vectors, rows)


def touch_vectors(
    conn: sa.Connection, model: str, hashes: Sequence[str], now: datetime, *, unless_since: datetime
) -> None:
    """Set `used_at` of vectors, except of those used after `unless_since`."""
    for start in range(0, len(hashes), _CHUNK):
        chunk = hashes[start : start + _CHUNK]
        chosen = (vectors.c.model == model, vectors.c.text_hash.in_(chunk), vectors.c.used_at < unless_since)
        conn.execute(vectors.update().where(*chosen).values(used_at=now))


def delete_unused_vectors(conn: sa.Connection, unused_since: datetime) -> int:
    """Delete the vectors last used before a time. Return how many."""
    return conn.execute(vectors.delete().where(vectors.c.used_at < unused_since)).rowcount
