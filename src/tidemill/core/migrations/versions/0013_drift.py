"""Drift monitors, their reports, and the vectors of texts."""

import sqlalchemy as sa
from alembic import op

from tidemill.core.db import Json, UtcDateTime

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "drift_monitors",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("spec", Json, nullable=False),
        sa.Column("created_by", sa.String(120), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("checked_at", UtcDateTime()),
        sa.PrimaryKeyConstraint("id", name="pk_drift_monitors"),
        sa.UniqueConstraint("name", name="uq_drift_monitors_name"),
    )
    op.create_table(
        "drift_reports",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("monitor_id", sa.String(40), nullable=False),
        sa.Column("job_id", sa.String(40)),
        sa.Column("verdict", sa.String(12), nullable=False),
        sa.Column("report", Json, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_drift_reports"),
        sa.UniqueConstraint("job_id", name="uq_drift_reports_job_id"),
    )
    op.create_index("ix_drift_reports_monitor_id_id", "drift_reports", ["monitor_id", "id"])
    op.create_table(
        "text_vectors",
        sa.Column("model", sa.String(63), nullable=False),
        sa.Column("text_hash", sa.String(64), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.Column("used_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("model", "text_hash", name="pk_text_vectors"),
    )
    op.create_index("ix_text_vectors_used_at", "text_vectors", ["used_at"])
