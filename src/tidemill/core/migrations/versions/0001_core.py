"""Facts, lineage and jobs."""

import sqlalchemy as sa
from alembic import op

from tidemill.core.db import Json, UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("kind", sa.String(80), nullable=False),
        sa.Column("subject", sa.String(120), nullable=False),
        sa.Column("actor_id", sa.String(40), nullable=False),
        sa.Column("actor_name", sa.String(120), nullable=False),
        sa.Column("data", Json, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )
    op.create_index("ix_events_kind_id", "events", ["kind", "id"])
    op.create_index("ix_events_subject_id", "events", ["subject", "id"])
    op.create_table(
        "lineage_nodes",
        sa.Column("id", sa.String(120), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("label", sa.String(300), nullable=False),
        sa.Column("facts", Json, nullable=False),
        sa.Column("actor_id", sa.String(40), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_lineage_nodes"),
    )
    op.create_table(
        "lineage_edges",
        sa.Column("child_id", sa.String(120), nullable=False),
        sa.Column("parent_id", sa.String(120), nullable=False),
        sa.Column("relation", sa.String(40), nullable=False),
        sa.PrimaryKeyConstraint("child_id", "parent_id", "relation", name="pk_lineage_edges"),
        sa.ForeignKeyConstraint(["child_id"], ["lineage_nodes.id"], name="fk_lineage_edges_child_id"),
        sa.ForeignKeyConstraint(["parent_id"], ["lineage_nodes.id"], name="fk_lineage_edges_parent_id"),
    )
    op.create_index("ix_lineage_edges_parent_id", "lineage_edges", ["parent_id"])
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(80), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("subject", sa.String(120)),
        sa.Column("key", sa.String(200)),
        sa.Column("args", Json, nullable=False),
        sa.Column("actor", Json, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("starts", sa.Integer(), nullable=False),
        sa.Column("executor", sa.String(80)),
        sa.Column("children", Json, nullable=False),
        sa.Column("waiting_for", sa.String(120)),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("progress", Json),
        sa.Column("error", Json),
        sa.Column("result", Json),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime()),
        sa.Column("finished_at", UtcDateTime()),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
    )
    op.create_index("ix_jobs_state_id", "jobs", ["state", "id"])
    op.create_index("ix_jobs_subject_id", "jobs", ["subject", "id"])
    op.create_index("ix_jobs_executor", "jobs", ["executor"])
    op.create_index("uq_jobs_kind_key", "jobs", ["kind", "key"], unique=True)
    op.create_table(
        "job_lines",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("level", sa.String(16), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("data", Json),
        sa.PrimaryKeyConstraint("id", name="pk_job_lines"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_lines_job_id"),
    )
    op.create_index("ix_job_lines_job_id_id", "job_lines", ["job_id", "id"])
    op.create_table(
        "job_signals",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("topic", sa.String(120), nullable=False),
        sa.Column("payload", Json),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("taken_by", sa.String(40)),
        sa.PrimaryKeyConstraint("id", name="pk_job_signals"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_signals_job_id"),
    )
    op.create_index("ix_job_signals_job_id_topic", "job_signals", ["job_id", "topic"])
    op.create_table(
        "job_workers",
        sa.Column("id", sa.String(80), nullable=False),
        sa.Column("machine", sa.String(300), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("stamp", sa.String(120), nullable=False),
        sa.Column("beat", sa.Integer(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_job_workers"),
    )
