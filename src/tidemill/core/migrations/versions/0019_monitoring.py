"""SLOs and KPIs in tables of their own, and the leases of checks under their name."""

import sqlalchemy as sa
from alembic import op

from tidemill.core.db import Json, UtcDateTime

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_SPEC = "id, name, spec, saved_by, saved_at, checked_at, verdict, summary"


def upgrade() -> None:
    _create("slos", sa.Column("counted_until", UtcDateTime()), sa.Column("counted_position", sa.Text()))
    op.create_table(
        "slo_minutes",
        sa.Column("slo_id", sa.String(40), nullable=False),
        sa.Column("minute", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("bad", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("slo_id", "minute", name="pk_slo_minutes"),
    )
    _create("kpis")
    op.create_table(
        "monitor_leases",
        sa.Column("key", sa.String(120), nullable=False),
        sa.Column("next_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_monitor_leases"),
    )
    counted = f"{_SPEC}, counted_until, counted_position"
    op.execute(f"INSERT INTO slos ({counted}) SELECT {counted} FROM objectives WHERE kind = 'slo'")
    op.execute(f"INSERT INTO kpis ({_SPEC}) SELECT {_SPEC} FROM objectives WHERE kind = 'kpi'")
    op.execute(
        "INSERT INTO slo_minutes (slo_id, minute, total, bad) "
        "SELECT objective_id, minute, total, bad FROM objective_minutes"
    )
    op.execute("INSERT INTO monitor_leases (key, next_at) SELECT key, next_at FROM monitor_turns")
    for table in ("objectives", "objective_minutes", "monitor_turns"):
        op.drop_table(table)


def _create(table: str, *more: sa.Column[object]) -> None:
    op.create_table(
        table,
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("spec", Json, nullable=False),
        sa.Column("saved_by", sa.String(120), nullable=False),
        sa.Column("saved_at", UtcDateTime(), nullable=False),
        sa.Column("checked_at", UtcDateTime()),
        sa.Column("verdict", sa.String(16)),
        sa.Column("summary", sa.Text(), nullable=False),
        *more,
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
        sa.UniqueConstraint("name", name=f"uq_{table}_name"),
    )
