"""Late spans in objectives, firings that failed, removed pipelines, and what online evaluators have spent."""

import sqlalchemy as sa
from alembic import op

from tidemill.core.db import UtcDateTime

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("objectives", sa.Column("counted_position", sa.Text()))
    op.add_column("trigger_firings", sa.Column("error", sa.Text()))
    op.add_column("pipelines", sa.Column("removed_at", UtcDateTime()))
    op.add_column("pipelines", sa.Column("removed_by", sa.String(120)))
    op.add_column("online_evaluators", sa.Column("spent_today", sa.Float(), nullable=False, server_default="0"))
    op.add_column("online_evaluators", sa.Column("resumes_at", UtcDateTime()))
