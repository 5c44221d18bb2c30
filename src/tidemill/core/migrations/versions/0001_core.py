"""Facts and lineage."""

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
