"""Rules for traces: prices, masking and the salt of pseudonyms. Calls through the gateway are spans from here on."""

import sqlalchemy as sa
from alembic import op

from tidemill.core.db import Json, UtcDateTime

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "trace_prices",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("provider", sa.String(200)),
        sa.Column("input_per_million", sa.Float()),
        sa.Column("cached_per_million", sa.Float()),
        sa.Column("output_per_million", sa.Float()),
        sa.Column("per_call", sa.Float()),
        sa.Column("per_hour", sa.Float()),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.Column("until", UtcDateTime()),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_by", sa.String(120), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_trace_prices"),
    )
    op.create_table(
        "trace_masking_rules",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("kinds", Json, nullable=False),
        sa.Column("pattern", sa.Text()),
        sa.Column("keys", Json, nullable=False),
        sa.Column("replacement", sa.String(100), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_by", sa.String(120), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_trace_masking_rules"),
    )
    op.create_table(
        "trace_salts",
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("salt", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_trace_salts"),
    )
    # Spans are not in this database, so the calls of a development version are not carried over.
    op.drop_table("gateway_calls")
