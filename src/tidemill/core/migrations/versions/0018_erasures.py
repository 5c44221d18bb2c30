"""Records of erased users."""

import sqlalchemy as sa
from alembic import op

from tidemill.core.db import Json, UtcDateTime

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "trace_erasures",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("user_hash", sa.String(64), nullable=False),
        sa.Column("traces", sa.Integer(), nullable=False),
        sa.Column("spans", sa.Integer(), nullable=False),
        sa.Column("scores", sa.Integer(), nullable=False),
        sa.Column("answers", sa.Integer(), nullable=False),
        sa.Column("copies", sa.Integer(), nullable=False),
        sa.Column("days", Json, nullable=False),
        sa.Column("datasets", Json, nullable=False),
        sa.Column("models", Json, nullable=False),
        sa.Column("began_at", UtcDateTime(), nullable=False),
        sa.Column("finished_at", UtcDateTime()),
        sa.Column("by", sa.String(120), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_trace_erasures"),
    )
    op.create_index("ix_trace_erasures_user_hash", "trace_erasures", ["user_hash"])
