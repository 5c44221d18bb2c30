"""What was removed to free space, and model versions whose files were."""

import sqlalchemy as sa
from alembic import op

from tidemill.core.db import UtcDateTime

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "file_removals",
        sa.Column("name", sa.String(300), nullable=False),
        sa.Column("kind", sa.String(80), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.String(120)),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("by", sa.String(120), nullable=False),
        sa.Column("scheduled_at", UtcDateTime(), nullable=False),
        sa.Column("put_before", UtcDateTime(), nullable=False),
        sa.Column("removed_at", UtcDateTime()),
        sa.PrimaryKeyConstraint("name", name="pk_file_removals"),
    )
    op.create_index("ix_file_removals_removed_at", "file_removals", ["removed_at"])
    op.create_index("ix_file_removals_owner", "file_removals", ["owner"])
    op.add_column("model_versions", sa.Column("files_removed_at", UtcDateTime()))
    op.add_column("model_versions", sa.Column("files_removed_why", sa.Text()))
