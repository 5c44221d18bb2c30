"""Releases, gates, gate results and approvals."""

import sqlalchemy as sa
from alembic import op

from tidemill.core.db import Json, UtcDateTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "releases",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("content_hash", sa.String(80), nullable=False),
        sa.Column("manifest", Json, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(120), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_releases"),
        sa.UniqueConstraint("name", "number", name="uq_releases_name_number"),
        sa.UniqueConstraint("name", "content_hash", name="uq_releases_name_content_hash"),
    )
    op.create_table(
        "gates",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("terms", Json, nullable=False),
        sa.Column("hash", sa.String(80), nullable=False),
        sa.Column("declared_at", UtcDateTime(), nullable=False),
        sa.Column("declared_by", sa.String(120), nullable=False),
        sa.Column("used", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_gates"),
        sa.UniqueConstraint("name", "number", name="uq_gates_name_number"),
    )
    op.create_table(
        "gate_results",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("release_id", sa.String(40), nullable=False),
        sa.Column("gate_id", sa.String(40), nullable=False),
        sa.Column("gate", sa.String(80), nullable=False),
        sa.Column("gate_hash", sa.String(80), nullable=False),
        sa.Column("comparison_id", sa.String(40), nullable=False),
        sa.Column("baseline_run", sa.String(40), nullable=False),
        sa.Column("candidate_run", sa.String(40), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("warnings", Json, nullable=False),
        sa.Column("evidence", Json, nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("by", sa.String(120), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_gate_results"),
        sa.ForeignKeyConstraint(["release_id"], ["releases.id"], name="fk_gate_results_release_id"),
        sa.ForeignKeyConstraint(["gate_id"], ["gates.id"], name="fk_gate_results_gate_id"),
        sa.UniqueConstraint(
            "release_id", "gate_id", "comparison_id", name="uq_gate_results_release_id_gate_id_comparison_id"
        ),
    )
    op.create_table(
        "approvals",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("release_id", sa.String(40), nullable=False),
        sa.Column("release", sa.String(80), nullable=False),
        sa.Column("release_hash", sa.String(80), nullable=False),
        sa.Column("environment", sa.String(63), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.String(40), nullable=False),
        sa.Column("requested_by_name", sa.String(120), nullable=False),
        sa.Column("requested_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("verdict", sa.String(16)),
        sa.Column("gate_results", Json, nullable=False),
        sa.Column("decided_by", sa.String(40)),
        sa.Column("decided_by_name", sa.String(120)),
        sa.Column("decided_at", UtcDateTime()),
        sa.Column("reason", sa.Text()),
        sa.Column("override", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_approvals"),
        sa.ForeignKeyConstraint(["release_id"], ["releases.id"], name="fk_approvals_release_id"),
    )
    op.create_index("ix_approvals_release_id", "approvals", ["release_id"])
