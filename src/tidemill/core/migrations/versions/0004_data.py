"""Datasets and their versions."""

import sqlalchemy as sa
from alembic import op

from tidemill.core.db import Json, UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("row_schema", sa.String(20), nullable=False),
        sa.Column("description", sa.Text()),
        sa.Column("owner", sa.Text()),
        sa.Column("licence", sa.Text()),
        sa.Column("purpose", sa.Text()),
        sa.Column("retention_days", sa.Integer()),
        sa.Column("latest", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(120), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_datasets"),
        sa.UniqueConstraint("name", name="uq_datasets_name"),
    )
    op.create_table(
        "dataset_versions",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("dataset_id", sa.String(40), nullable=False),
        sa.Column("dataset", sa.String(63), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("row_schema", sa.String(20), nullable=False),
        sa.Column("content_hash", sa.String(80), nullable=False),
        sa.Column("plan_hash", sa.String(80), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("sources", Json, nullable=False),
        sa.Column("splits", Json, nullable=False),
        sa.Column("steps", Json, nullable=False),
        sa.Column("leaks", Json, nullable=False),
        sa.Column("statistics", Json, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(120), nullable=False),
        sa.Column("job_id", sa.String(40)),
        sa.PrimaryKeyConstraint("id", name="pk_dataset_versions"),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name="fk_dataset_versions_dataset_id"),
        sa.UniqueConstraint("dataset_id", "version", name="uq_dataset_versions_dataset_id_version"),
        sa.UniqueConstraint("dataset_id", "content_hash", name="uq_dataset_versions_dataset_id_content_hash"),
    )
    op.create_index("ix_dataset_versions_dataset_id_plan_hash", "dataset_versions", ["dataset_id", "plan_hash"])
