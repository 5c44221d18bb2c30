"""The table of KPIs."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tidemill.core.db import Json, UtcDateTime, metadata
from tidemill.kpis.types import Kpi, KpiVerdict

kpis = sa.Table(
    "kpis",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(63), nullable=False, unique=True),
    sa.Column("spec", Json, nullable=False),
    sa.Column("saved_by", sa.String(120), nullable=False),
    sa.Column("saved_at", UtcDateTime, nullable=False),
    sa.Column("checked_at", UtcDateTime),
    sa.Column("verdict", sa.String(16)),
    sa.Column("summary", sa.Text, nullable=False),
)

_OWN = {"id", "name", "saved_by", "saved_at"}


@dataclass(frozen=True)
class KpiRecord:
    """A KPI with its last check."""

    kpi: Kpi
    checked_at: datetime | None
    verdict: KpiVerdict | None
    summary: str


def put(conn: sa.Connection, kpi: Kpi) -> None:
    """Insert or replace a KPI, and clear the result of its last check."""
    values = kpi.model_dump(include=_OWN) | {
        "spec": kpi.model_dump(mode="json", exclude=_OWN),
        "summary": "",
        "verdict": None,
        "checked_at": None,
    }
    updated = conn.execute(kpis.update().where(kpis.c.id == kpi.id).values(**values))
    if updated.rowcount == 0:
        conn.execute(kpis.insert().values(**values))


def by_name(conn: sa.Connection, name: str) -> KpiRecord | None:
    """Return one KPI, or None."""
    row = conn.execute(sa.select(kpis).where(kpis.c.name == name)).first()
    return _record(row) if row is not None else None


def list_kpis(conn: sa.Connection, *, after: str | None = None, limit: int | None = None) -> list[KpiRecord]:
    """Return KPIs by name, all of them without a limit."""
    query = sa.select(kpis).order_by(kpis.c.name).limit(limit)
    if after is not None:
        query = query.where(kpis.c.name > after)
    return [_record(row) for row in conn.execute(query)]


def _record(row: sa.Row[*tuple[Any, ...]]) -> KpiRecord:
    return KpiRecord(
        kpi=Kpi.model_validate(row.spec | {name: row._mapping[name] for name in _OWN}),
        checked_at=row.checked_at,
        verdict=row.verdict,
        summary=row.summary,
    )


def delete(conn: sa.Connection, kpi_id: str) -> None:
    """Delete a KPI."""
    conn.execute(kpis.delete().where(kpis.c.id == kpi_id))


def record_check(conn: sa.Connection, kpi: Kpi, *, at: datetime, verdict: str, summary: str) -> bool:
    """Store the result of a check. Return False when a later check is stored already, or the KPI was changed since
    or removed."""
    unchanged = (kpis.c.id == kpi.id, kpis.c.saved_at == kpi.saved_at)
    not_older = sa.or_(kpis.c.checked_at.is_(None), kpis.c.checked_at <= at)
    updated = conn.execute(
        kpis.update().where(*unchanged, not_older).values(checked_at=at, verdict=verdict, summary=summary)
    )
    return updated.rowcount == 1
