"""Whether an environment accepts fields of a request that override a release."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("environments", sa.Column("overrides", sa.String(8), nullable=False, server_default="allow"))
