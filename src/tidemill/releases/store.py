"""The tables of releases, gates, gate results and approvals."""

from typing import Any

import sqlalchemy as sa

from tidemill.core.blobs.references import names_blobs
from tidemill.core.db import Json, UtcDateTime, advisory_lock, metadata, row_values
from tidemill.releases.types import Approval, Gate, GateResult, Release

releases = sa.Table(
    "releases",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(63), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("content_hash", sa.String(80), nullable=False),
    sa.Column("manifest", Json, nullable=False, info=names_blobs("files of releases")),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("created_by", sa.String(120), nullable=False),
    sa.UniqueConstraint("name", "number"),
    sa.UniqueConstraint("name", "content_hash"),
)

gates = sa.Table(
    "gates",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(63), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("terms", Json, nullable=False),
    sa.Column("hash", sa.String(80), nullable=False),
    sa.Column("declared_at", UtcDateTime, nullable=False),
    sa.Column("declared_by", sa.String(120), nullable=False),
    sa.Column("used", sa.Boolean, nullable=False),
    sa.UniqueConstraint("name", "number"),
)

gate_results = sa.Table(
    "gate_results",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("release_id", sa.String(40), sa.ForeignKey("releases.id"), nullable=False),
    sa.Column("gate_id", sa.String(40), sa.ForeignKey("gates.id"), nullable=False),
    sa.Column("gate", sa.String(80), nullable=False),
    sa.Column("gate_hash", sa.String(80), nullable=False),
    sa.Column("comparison_id", sa.String(40), nullable=False),
    sa.Column("baseline_run", sa.String(40), nullable=False),
    sa.Column("candidate_run", sa.String(40), nullable=False),
    sa.Column("verdict", sa.String(16), nullable=False),
    sa.Column("summary", sa.Text, nullable=False),
    sa.Column("warnings", Json, nullable=False),
    sa.Column("evidence", Json, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("by", sa.String(120), nullable=False),
    sa.UniqueConstraint("release_id", "gate_id", "comparison_id"),
)

approvals = sa.Table(
    "approvals",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("release_id", sa.String(40), sa.ForeignKey("releases.id"), nullable=False),
    sa.Column("release", sa.String(80), nullable=False),
    sa.Column("release_hash", sa.String(80), nullable=False),
    sa.Column("environment", sa.String(63), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("requested_by", sa.String(40), nullable=False),
    sa.Column("requested_by_name", sa.String(120), nullable=False),
    sa.Column("requested_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.Column("verdict", sa.String(16)),
    sa.Column("gate_results", Json, nullable=False),
    sa.Column("decided_by", sa.String(40)),
    sa.Column("decided_by_name", sa.String(120)),
    sa.Column("decided_at", UtcDateTime),
    sa.Column("reason", sa.Text),
    sa.Column("override", sa.Text),
    sa.Column("withdrawn_at", UtcDateTime),
    sa.Column("withdrawn_by_name", sa.String(120)),
    sa.Column("withdrawn_reason", sa.Text),
    sa.Index("ix_approvals_release_id", "release_id"),
)

_COLUMNS = ("id", "name", "number", "hash", "declared_at", "declared_by", "used")


def lock(conn: sa.Connection, name: str) -> None:
    """Hold the advisory lock of this name until the transaction ends."""
    advisory_lock(conn, name)


def insert_release(conn: sa.Connection, release: Release) -> None:
    """Write a new release."""
    conn.execute(releases.insert().values(**release.model_dump(mode="python")))


def find_release(conn: sa.Connection, **where: Any) -> Release | None:
    """Return the newest release whose columns have these values."""
    query = sa.select(releases).filter_by(**where).order_by(releases.c.number.desc()).limit(1)
    row = conn.execute(query).first()
    return Release.model_validate(row_values(row)) if row is not None else None


def list_releases(conn: sa.Connection, *, name: str | None, before: str | None, limit: int) -> list[Release]:
    """Return releases, newest first."""
    query = sa.select(releases).order_by(releases.c.id.desc()).limit(limit)
    if name is not None:
        query = query.where(releases.c.name == name)
    if before is not None:
        query = query.where(releases.c.id < before)
    return [Release.model_validate(row_values(row)) for row in conn.execute(query)]


def list_release_names(conn: sa.Connection) -> list[str]:
    """Return the distinct names of releases, sorted."""
    return list(conn.execute(sa.select(releases.c.name).distinct().order_by(releases.c.name)).scalars())


def insert_gate(conn: sa.Connection, gate: Gate) -> None:
    """Write a newly declared gate."""
    conn.execute(gates.insert().values(**_gate_values(gate)))


def replace_gate(conn: sa.Connection, gate: Gate) -> None:
    """Write the terms of a gate that no evaluation has used yet."""
    conn.execute(gates.update().where(gates.c.id == gate.id, gates.c.used.is_(False)).values(**_gate_values(gate)))


def mark_gate_used(conn: sa.Connection, gate_id: str) -> None:
    """Mark a gate as used: from now on its terms cannot change."""
    conn.execute(gates.update().where(gates.c.id == gate_id).values(used=True))


def find_gate(conn: sa.Connection, **where: Any) -> Gate | None:
    """Return the newest gate whose columns have these values."""
    row = conn.execute(sa.select(gates).filter_by(**where).order_by(gates.c.number.desc()).limit(1)).first()
    return _gate(row) if row is not None else None


def list_gates(conn: sa.Connection, *, before: str | None, limit: int) -> list[Gate]:
    """Return gates, newest first."""
    query = sa.select(gates).order_by(gates.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(gates.c.id < before)
    return [_gate(row) for row in conn.execute(query)]


def list_gate_names(conn: sa.Connection) -> list[str]:
    """Return the distinct names of gates, sorted."""
    return list(conn.execute(sa.select(gates.c.name).distinct().order_by(gates.c.name)).scalars())


def insert_result(conn: sa.Connection, result: GateResult) -> None:
    """Write a verdict."""
    values = result.model_dump(mode="python", exclude={"evidence"})
    conn.execute(gate_results.insert().values(**values, evidence=result.evidence.model_dump(mode="json")))


def find_result(conn: sa.Connection, **where: Any) -> GateResult | None:
    """Return the gate result whose columns have these values."""
    row = conn.execute(sa.select(gate_results).filter_by(**where)).first()
    return GateResult.model_validate(row_values(row)) if row is not None else None


def list_results(conn: sa.Connection, release_id: str) -> list[GateResult]:
    """Return verdicts on a release, newest first."""
    query = sa.select(gate_results).where(gate_results.c.release_id == release_id).order_by(gate_results.c.id.desc())
    return [GateResult.model_validate(row_values(row)) for row in conn.execute(query)]


def insert_approval(conn: sa.Connection, approval: Approval) -> None:
    """Write a new approval request."""
    conn.execute(approvals.insert().values(**approval.model_dump(mode="python")))


def decide_approval(conn: sa.Connection, approval: Approval) -> bool:
    """Write a decision. Return False when another one came first."""
    values = approval.model_dump(mode="python")
    query = approvals.update().where(approvals.c.id == approval.id, approvals.c.state == "pending")
    return conn.execute(query.values(**values)).rowcount == 1


def withdraw_approval(conn: sa.Connection, approval: Approval) -> bool:
    """Write a withdrawal. Return False, changing nothing, unless it is pending or approved."""
    open_rows = (approvals.c.id == approval.id, approvals.c.state.in_(("pending", "approved")))
    values = approval.model_dump(include={"state", "withdrawn_at", "withdrawn_by_name", "withdrawn_reason"})
    return conn.execute(approvals.update().where(*open_rows).values(**values)).rowcount == 1


def find_approval(conn: sa.Connection, approval_id: str) -> Approval | None:
    """Return one approval, or None."""
    row = conn.execute(sa.select(approvals).where(approvals.c.id == approval_id)).first()
    return Approval.model_validate(row_values(row)) if row is not None else None


def list_approvals(
    conn: sa.Connection,
    *,
    release_id: str | None = None,
    environment: str | None = None,
    before: str | None = None,
    limit: int | None = None,
) -> list[Approval]:
    """Return approvals, newest first, all of them without a limit."""
    query = sa.select(approvals).order_by(approvals.c.id.desc()).limit(limit)
    if release_id is not None:
        query = query.where(approvals.c.release_id == release_id)
    if environment is not None:
        query = query.where(approvals.c.environment == environment)
    if before is not None:
        query = query.where(approvals.c.id < before)
    return [Approval.model_validate(row_values(row)) for row in conn.execute(query)]


def _gate_values(gate: Gate) -> dict[str, Any]:
    values = gate.model_dump(mode="python")
    return {name: values.pop(name) for name in _COLUMNS} | {"terms": values}


def _gate(row: sa.Row[Any]) -> Gate:
    values = row_values(row)
    return Gate.model_validate(values.pop("terms") | values)
