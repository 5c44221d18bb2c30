"""Approvals that were withdrawn."""

import sqlalchemy as sa
from alembic import op

from tidemill.core.db import UtcDateTime

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("approvals", sa.Column("withdrawn_at", UtcDateTime()))
    op.add_column("approvals", sa.Column("withdrawn_by_name", sa.String(120)))
    op.add_column("approvals", sa.Column("withdrawn_reason", sa.Text()))
