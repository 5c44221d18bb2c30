"""Environments and deployments."""

import sqlalchemy as sa
from alembic import op

from tidemill.core.db import UtcDateTime

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    environments = op.create_table(
        "environments",
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_environments"),
    )
    op.bulk_insert(
        environments,
        [{"name": "dev", "position": 1}, {"name": "qa", "position": 2}, {"name": "prod", "position": 3}],
    )
    op.create_table(
        "deployments",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("environment", sa.String(63), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("release_id", sa.String(40), nullable=False),
        sa.Column("release", sa.String(80), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("kind", sa.String(12), nullable=False),
        sa.Column("replicas", sa.Integer(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("forced", sa.Text()),
        sa.Column("approval_id", sa.String(40)),
        sa.Column("requested_by", sa.String(120), nullable=False),
        sa.Column("requested_at", UtcDateTime(), nullable=False),
        sa.Column("live_at", UtcDateTime()),
        sa.Column("ended_at", UtcDateTime()),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_deployments"),
        sa.ForeignKeyConstraint(["environment"], ["environments.name"], name="fk_deployments_environment"),
    )
    op.create_index("ix_deployments_environment_name_id", "deployments", ["environment", "name", "id"])
    op.create_index("ix_deployments_state", "deployments", ["state"])
