"""SLOs, alerts, notifiers and triggers."""

import sqlalchemy as sa
from alembic import op

from tidemill.core.db import Json, UtcDateTime

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _objectives()
    _alerts()
    _triggers()


def _objectives() -> None:
    op.create_table(
        "objectives",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("spec", Json, nullable=False),
        sa.Column("saved_by", sa.String(120), nullable=False),
        sa.Column("saved_at", UtcDateTime(), nullable=False),
        sa.Column("checked_at", UtcDateTime()),
        sa.Column("verdict", sa.String(16)),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("counted_until", UtcDateTime()),
        sa.PrimaryKeyConstraint("id", name="pk_objectives"),
        sa.UniqueConstraint("kind", "name", name="uq_objectives_kind_name"),
    )
    op.create_table(
        "objective_minutes",
        sa.Column("objective_id", sa.String(40), nullable=False),
        sa.Column("minute", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("bad", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("objective_id", "minute", name="pk_objective_minutes"),
    )
    op.create_table(
        "monitor_turns",
        sa.Column("key", sa.String(120), nullable=False),
        sa.Column("next_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_monitor_turns"),
    )


def _alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("severity", sa.String(8), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("evidence", Json, nullable=False),
        sa.Column("standing", sa.String(120)),
        sa.Column("opened_at", UtcDateTime(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.Column("acknowledged_at", UtcDateTime()),
        sa.Column("acknowledged_by", sa.String(120)),
        sa.Column("resolved_at", UtcDateTime()),
        sa.Column("resolved_by", sa.String(120)),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_alerts"),
        sa.UniqueConstraint("standing", name="uq_alerts_standing"),
    )
    op.create_index("ix_alerts_kind_name_id", "alerts", ["kind", "name", "id"])
    op.create_table(
        "notifiers",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("config", Json, nullable=False),
        sa.Column("secrets", Json, nullable=False),
        sa.Column("severities", Json, nullable=False),
        sa.Column("saved_by", sa.String(120), nullable=False),
        sa.Column("saved_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_notifiers"),
        sa.UniqueConstraint("name", name="uq_notifiers_name"),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("notifier_id", sa.String(40), nullable=False),
        sa.Column("notifier", sa.String(63), nullable=False),
        sa.Column("alert_id", sa.String(40)),
        sa.Column("what", sa.String(80), nullable=False),
        sa.Column("body", Json, nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("next_at", UtcDateTime()),
        sa.Column("sent_at", UtcDateTime()),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
    )
    op.create_index("ix_deliveries_state_next_at", "deliveries", ["state", "next_at"])
    op.create_index("ix_deliveries_notifier_id_id", "deliveries", ["notifier_id", "id"])


def _triggers() -> None:
    op.create_table(
        "triggers",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("spec", Json, nullable=False),
        sa.Column("saved_by", sa.String(120), nullable=False),
        sa.Column("saved_at", UtcDateTime(), nullable=False),
        sa.Column("held_by", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_triggers"),
        sa.UniqueConstraint("name", name="uq_triggers_name"),
    )
    op.create_table(
        "trigger_firings",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("trigger_id", sa.String(40), nullable=False),
        sa.Column("trigger", sa.String(63), nullable=False),
        sa.Column("pipeline", sa.String(63), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("by", sa.String(120), nullable=False),
        sa.Column("reasons", Json, nullable=False),
        sa.Column("evidence", Json, nullable=False),
        sa.Column("window_start", UtcDateTime(), nullable=False),
        sa.Column("window_end", UtcDateTime(), nullable=False),
        sa.Column("expected_minutes", sa.Float(), nullable=False),
        sa.Column("spent_minutes", sa.Float()),
        sa.Column("run_id", sa.String(80)),
        sa.PrimaryKeyConstraint("id", name="pk_trigger_firings"),
    )
    op.create_index("ix_trigger_firings_trigger_id_id", "trigger_firings", ["trigger_id", "id"])
