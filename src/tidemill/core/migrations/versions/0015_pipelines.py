"""Pipelines and their runs."""

import sqlalchemy as sa
from alembic import op

from tidemill.core.db import Json, UtcDateTime

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pipelines",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_pipelines"),
        sa.UniqueConstraint("name", name="uq_pipelines_name"),
    )
    op.create_table(
        "pipeline_versions",
        sa.Column("pipeline_id", sa.String(40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(80), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("applied_at", UtcDateTime(), nullable=False),
        sa.Column("applied_by", sa.String(120), nullable=False),
        sa.PrimaryKeyConstraint("pipeline_id", "number", name="pk_pipeline_versions"),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipelines.id"], name="fk_pipeline_versions_pipeline_id"),
    )
    op.create_table(
        "pipeline_runs",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("pipeline_id", sa.String(40), nullable=False),
        sa.Column("pipeline", sa.String(63), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("fresh", sa.Boolean(), nullable=False),
        sa.Column("verdict", sa.String(16)),
        sa.Column("release", sa.String(80)),
        sa.Column("changed", sa.Boolean(), nullable=False),
        sa.Column("causes", Json, nullable=False),
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("error", Json),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(120), nullable=False),
        sa.Column("started_at", UtcDateTime()),
        sa.Column("finished_at", UtcDateTime()),
        sa.PrimaryKeyConstraint("id", name="pk_pipeline_runs"),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipelines.id"], name="fk_pipeline_runs_pipeline_id"),
        sa.UniqueConstraint("pipeline_id", "number", name="uq_pipeline_runs_pipeline_id_number"),
    )
    op.create_index("ix_pipeline_runs_state", "pipeline_runs", ["state"])
    op.create_table(
        "pipeline_steps",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("run_id", sa.String(40), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(140), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("key", sa.String(80)),
        sa.Column("outputs", Json, nullable=False),
        sa.Column("cached_from", sa.String(80)),
        sa.Column("job_id", sa.String(40)),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("progress", sa.Text()),
        sa.Column("error", Json),
        sa.Column("skipped_by", sa.String(120)),
        sa.Column("started_at", UtcDateTime()),
        sa.Column("finished_at", UtcDateTime()),
        sa.PrimaryKeyConstraint("id", name="pk_pipeline_steps"),
        sa.ForeignKeyConstraint(["run_id"], ["pipeline_runs.id"], name="fk_pipeline_steps_run_id"),
        sa.UniqueConstraint("run_id", "position", name="uq_pipeline_steps_run_id_position"),
    )
    op.create_index("ix_pipeline_steps_key", "pipeline_steps", ["key"])
