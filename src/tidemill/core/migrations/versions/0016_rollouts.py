"""Rollouts, their steps and evidence, mirrored calls, and retirements."""

import sqlalchemy as sa
from alembic import op

from tidemill.core.db import Json, UtcDateTime

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("deployments", sa.Column("rollout_id", sa.String(40)))
    _rollouts()
    op.create_table(
        "rollout_steps",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("rollout_id", sa.String(40), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("move", sa.String(12), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(120), nullable=False),
        sa.Column("evidence", Json),
        sa.PrimaryKeyConstraint("id", name="pk_rollout_steps"),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollouts.id"], name="fk_rollout_steps_rollout_id"),
    )
    op.create_index("ix_rollout_steps_rollout_id_id", "rollout_steps", ["rollout_id", "id"])
    op.create_table(
        "shadow_pairs",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("rollout_id", sa.String(40), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("call_id", sa.String(64), nullable=False),
        sa.Column("input", Json, nullable=False),
        sa.Column("live", sa.Text(), nullable=False),
        sa.Column("shadow", sa.Text()),
        sa.Column("verdict", sa.Float()),
        sa.Column("live_ms", sa.Float(), nullable=False),
        sa.Column("shadow_ms", sa.Float()),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("cost_usd", sa.Float()),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_shadow_pairs"),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollouts.id"], name="fk_shadow_pairs_rollout_id"),
    )
    op.create_index("ix_shadow_pairs_rollout_id_id", "shadow_pairs", ["rollout_id", "id"])
    op.create_table(
        "retirements",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("environment", sa.String(63), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("sunset", UtcDateTime(), nullable=False),
        sa.Column("successor", sa.String(200), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("announced_by", sa.String(120), nullable=False),
        sa.Column("announced_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime()),
        sa.Column("cancelled_at", UtcDateTime()),
        sa.PrimaryKeyConstraint("id", name="pk_retirements"),
        sa.ForeignKeyConstraint(["environment"], ["environments.name"], name="fk_retirements_environment"),
    )
    op.create_index("ix_retirements_environment_name", "retirements", ["environment", "name"])


def _rollouts() -> None:
    op.create_table(
        "rollouts",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("environment", sa.String(63), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("strategy", sa.String(12), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("release_id", sa.String(40), nullable=False),
        sa.Column("release", sa.String(80), nullable=False),
        sa.Column("baseline_release_id", sa.String(40)),
        sa.Column("baseline_release", sa.String(80)),
        sa.Column("deployment_id", sa.String(40), nullable=False),
        sa.Column("baseline_deployment_id", sa.String(40)),
        sa.Column("steps", Json, nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("step_at", UtcDateTime()),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("answers_before", sa.Integer(), nullable=False),
        sa.Column("shadow", Json),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("forced", sa.Text()),
        sa.Column("reason", sa.Text()),
        sa.Column("requested_by", sa.String(120), nullable=False),
        sa.Column("requested_at", UtcDateTime(), nullable=False),
        sa.Column("began_at", UtcDateTime()),
        sa.Column("ended_at", UtcDateTime()),
        sa.Column("evidence", Json),
        sa.PrimaryKeyConstraint("id", name="pk_rollouts"),
        sa.ForeignKeyConstraint(["environment"], ["environments.name"], name="fk_rollouts_environment"),
    )
    op.create_index("ix_rollouts_environment_name_id", "rollouts", ["environment", "name", "id"])
    op.create_index("ix_rollouts_state", "rollouts", ["state"])
