"""Calls through the gateway."""

import sqlalchemy as sa
from alembic import op

from tidemill.core.db import Json, UtcDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "gateway_calls",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("release_id", sa.String(40)),
        sa.Column("model_version_id", sa.String(40)),
        sa.Column("environment", sa.String(63)),
        sa.Column("deployment_id", sa.String(40)),
        sa.Column("caller_id", sa.String(40), nullable=False),
        sa.Column("caller_name", sa.String(120), nullable=False),
        sa.Column("key_id", sa.String(40)),
        sa.Column("stream", sa.Boolean(), nullable=False),
        sa.Column("status", sa.String(8), nullable=False),
        sa.Column("http_status", sa.Integer(), nullable=False),
        sa.Column("error_code", sa.String(80)),
        sa.Column("finish_reason", sa.String(40)),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("cached_tokens", sa.Integer(), nullable=False),
        sa.Column("overrides", Json, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("ttft_ms", sa.Float()),
        sa.Column("latency_ms", sa.Float(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_gateway_calls"),
    )
    op.create_index("ix_gateway_calls_release_id_id", "gateway_calls", ["release_id", "id"])
    op.create_index("ix_gateway_calls_environment_id", "gateway_calls", ["environment", "id"])
    op.create_index("ix_gateway_calls_caller_id_id", "gateway_calls", ["caller_id", "id"])
