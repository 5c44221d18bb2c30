"""The tables of tuning."""

import sqlalchemy as sa
from alembic import op

from tidemill.core.db import Json, UtcDateTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tuning_runs",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("spec", Json, nullable=False),
        sa.Column("base_version_id", sa.String(40), nullable=False),
        sa.Column("dataset_version_id", sa.String(40), nullable=False),
        sa.Column("prompt_version_id", sa.String(40)),
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("key", sa.String(200)),
        sa.Column("estimate", Json),
        sa.Column("total_steps", sa.Integer),
        sa.Column("summary", Json),
        sa.Column("record_hash", sa.String(80)),
        sa.Column("parity", Json),
        sa.Column("error", Json),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("created_by", sa.String(120), nullable=False),
        sa.Column("finished_at", UtcDateTime),
        sa.UniqueConstraint("key", name="uq_tuning_runs_key"),
    )
    op.create_index("ix_tuning_runs_state_id", "tuning_runs", ["state", "id"])
    op.create_table(
        "tuning_steps",
        sa.Column("run_id", sa.String(40), sa.ForeignKey("tuning_runs.id"), nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("record", Json, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "step"),
    )
    op.create_table(
        "tuning_outputs",
        sa.Column("run_id", sa.String(40), sa.ForeignKey("tuning_runs.id"), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("version_id", sa.String(40), nullable=False),
        sa.Column("ref", sa.String(120), nullable=False),
        sa.Column("servable", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "kind"),
        sa.Index("ix_tuning_outputs_version_id", "version_id"),
    )
