"""The tables of SLOs and of their counts by minute."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tidemill.core.db import Json, UtcDateTime, metadata
from tidemill.slos.types import Slo, SloVerdict

slos = sa.Table(
    "slos",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(63), nullable=False, unique=True),
    sa.Column("spec", Json, nullable=False),
    sa.Column("saved_by", sa.String(120), nullable=False),
    sa.Column("saved_at", UtcDateTime, nullable=False),
    sa.Column("checked_at", UtcDateTime),
    sa.Column("verdict", sa.String(16)),
    sa.Column("summary", sa.Text, nullable=False),
    sa.Column("counted_until", UtcDateTime),
    sa.Column("counted_position", sa.Text),
)

minutes = sa.Table(
    "slo_minutes",
    metadata,
    sa.Column("slo_id", sa.String(40), primary_key=True),
    sa.Column("minute", sa.BigInteger, primary_key=True),
    sa.Column("total", sa.BigInteger, nullable=False),
    sa.Column("bad", sa.BigInteger, nullable=False),
)

CHUNK_SIZE = 500
"""Values in one IN list."""

_OWN = {"id", "name", "saved_by", "saved_at"}
_UNCOUNTED = {"counted_until": None, "counted_position": None}


@dataclass(frozen=True)
class SloRecord:
    """An SLO with its last check, and up to where its calls are counted."""

    slo: Slo
    checked_at: datetime | None
    verdict: SloVerdict | None
    summary: str
    counted_until: datetime | None
    counted_position: str | None


def put(conn: sa.Connection, slo: Slo) -> None:
    """Insert or replace an SLO, and clear the result of its last check."""
    values = slo.model_dump(include=_OWN) | {
        "spec": slo.model_dump(mode="json", exclude=_OWN),
        "summary": "",
        "verdict": None,
        "checked_at": None,
    }
    updated = conn.execute(slos.update().where(slos.c.id == slo.id).values(**values))
    if updated.rowcount == 0:
        conn.execute(slos.insert().values(**values))


def by_name(conn: sa.Connection, name: str) -> SloRecord | None:
    """Return one SLO, or None."""
    row = conn.execute(sa.select(slos).where(slos.c.name == name)).first()
    return _record(row) if row is not None else None


def list_slos(conn: sa.Connection, *, after: str | None = None, limit: int | None = None) -> list[SloRecord]:
    """Return SLOs by name, all of them without a limit."""
    query = sa.select(slos).order_by(slos.c.name).limit(limit)
    if after is not None:
        query = query.where(slos.c.name > after)
    return [_record(row) for row in conn.execute(query)]


def _record(row: sa.Row[*tuple[Any, ...]]) -> SloRecord:
    return SloRecord(
        slo=Slo.model_validate(row.spec | {name: row._mapping[name] for name in _OWN}),
        checked_at=row.checked_at,
        verdict=row.verdict,
        summary=row.summary,
        counted_until=row.counted_until,
        counted_position=row.counted_position,
    )


def delete(conn: sa.Connection, slo_id: str) -> None:
    """Delete an SLO and its counts."""
    delete_counts(conn, slo_id)
    conn.execute(slos.delete().where(slos.c.id == slo_id))


def record_check(conn: sa.Connection, slo: Slo, *, at: datetime, verdict: str, summary: str) -> bool:
    """Store the result of a check. Return False when a later check is stored already, or the SLO was changed since
    or removed."""
    unchanged = (slos.c.id == slo.id, slos.c.saved_at == slo.saved_at)
    not_older = sa.or_(slos.c.checked_at.is_(None), slos.c.checked_at <= at)
    updated = conn.execute(
        slos.update().where(*unchanged, not_older).values(checked_at=at, verdict=verdict, summary=summary)
    )
    return updated.rowcount == 1


def sum_minutes(conn: sa.Connection, slo_id: str, since: int, until: int) -> tuple[int, int]:
    """Return total and bad from minute `since` up to, not including, minute `until` (minutes since 1970)."""
    where = (minutes.c.slo_id == slo_id, minutes.c.minute >= since, minutes.c.minute < until)
    sums = (sa.func.coalesce(sa.func.sum(column), 0) for column in (minutes.c.total, minutes.c.bad))
    total, bad = conn.execute(sa.select(*sums).where(*where)).one()
    return int(total), int(bad)


def load_minutes(conn: sa.Connection, slo_id: str, since: int, until: int) -> dict[int, tuple[int, int]]:
    """Return total and bad by stored minute, from minute `since` up to, not including, `until`."""
    where = (minutes.c.slo_id == slo_id, minutes.c.minute >= since, minutes.c.minute < until)
    return {row.minute: (row.total, row.bad) for row in conn.execute(sa.select(minutes).where(*where))}


def replace_minutes(
    conn: sa.Connection,
    slo_id: str,
    tally: Sequence[tuple[int, int, int]],
    *,
    before: datetime | None,
    until: datetime,
    position: str,
    oldest: int,
) -> bool:
    """Replace the stored counts of some minutes by (minute, total, bad), and delete minutes before `oldest`.

    All spans up to `position` that began before `until` are in them. Returns False and stores nothing when
    another server has counted since `before`.
    """
    position_unchanged = slos.c.counted_until.is_(None) if before is None else slos.c.counted_until == before
    updated = conn.execute(
        slos.update()
        .where(slos.c.id == slo_id, position_unchanged)
        .values(counted_until=until, counted_position=position)
    )
    if updated.rowcount == 0:
        return False
    of_slo = minutes.c.slo_id == slo_id
    recounted = [entry[0] for entry in tally if before is not None and entry[0] < before.timestamp() // 60]
    for start in range(0, len(recounted), CHUNK_SIZE):
        conn.execute(minutes.delete().where(of_slo, minutes.c.minute.in_(recounted[start : start + CHUNK_SIZE])))
    rows = [{"slo_id": slo_id, "minute": m, "total": t, "bad": b} for m, t, b in tally]
    if rows:
        conn.execute(minutes.insert(), rows)
    conn.execute(minutes.delete().where(of_slo, minutes.c.minute < oldest))
    return True


def delete_counts(conn: sa.Connection, slo_id: str) -> None:
    """Delete the stored counts of an SLO, so that all are counted again."""
    conn.execute(minutes.delete().where(minutes.c.slo_id == slo_id))
    conn.execute(slos.update().where(slos.c.id == slo_id).values(**_UNCOUNTED))
