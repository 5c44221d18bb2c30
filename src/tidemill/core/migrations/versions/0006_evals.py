"""The tables of evals."""

import sqlalchemy as sa
from alembic import op

from tidemill.core.db import Json, UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "eval_sets",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("content_hash", sa.String(80), nullable=False),
        sa.Column("dataset_version_id", sa.String(40), nullable=False),
        sa.Column("dataset", sa.String(120), nullable=False),
        sa.Column("split", sa.String(63), nullable=False),
        sa.Column("mapping", Json, nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.Column("clusters", sa.Integer(), nullable=False),
        sa.Column("largest_cluster", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.String(120), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_eval_sets"),
        sa.UniqueConstraint("name", "number", name="uq_eval_sets_name_number"),
    )
    op.create_table(
        "eval_runs",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(200)),
        sa.Column("eval_set_id", sa.String(40), nullable=False),
        sa.Column("eval_set", sa.String(120), nullable=False),
        sa.Column("spec", Json, nullable=False),
        sa.Column("key", sa.String(200)),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("job_id", sa.String(40)),
        sa.Column("figures", Json),
        sa.Column("results_hash", sa.String(80)),
        sa.Column("error", Json),
        sa.Column("created_by", sa.String(120), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime()),
        sa.Column("finished_at", UtcDateTime()),
        sa.PrimaryKeyConstraint("id", name="pk_eval_runs"),
        sa.ForeignKeyConstraint(["eval_set_id"], ["eval_sets.id"], name="fk_eval_runs_eval_set_id"),
        sa.UniqueConstraint("key", name="uq_eval_runs_key"),
    )
    op.create_index("ix_eval_runs_eval_set_id", "eval_runs", ["eval_set_id"])
    op.create_table(
        "eval_results",
        sa.Column("run_id", sa.String(40), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("item_id", sa.String(200), nullable=False),
        sa.Column("repeat", sa.Integer(), nullable=False),
        sa.Column("answer", sa.Text()),
        sa.Column("finish_reason", sa.String(40)),
        sa.Column("scores", Json, nullable=False),
        sa.Column("error", Json),
        sa.Column("latency_ms", sa.Float()),
        sa.Column("prompt_tokens", sa.Integer()),
        sa.Column("output_tokens", sa.Integer()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("cached", sa.Boolean(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "seq", name="pk_eval_results"),
        sa.ForeignKeyConstraint(["run_id"], ["eval_runs.id"], name="fk_eval_results_run_id"),
    )
    op.create_table(
        "eval_answers",
        sa.Column("key", sa.String(80), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("finish_reason", sa.String(40)),
        sa.Column("latency_ms", sa.Float()),
        sa.Column("prompt_tokens", sa.Integer()),
        sa.Column("output_tokens", sa.Integer()),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_eval_answers"),
    )
    op.create_table(
        "eval_comparisons",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("baseline_run", sa.String(40), nullable=False),
        sa.Column("candidate_run", sa.String(40), nullable=False),
        sa.Column("spec_hash", sa.String(80), nullable=False),
        sa.Column("value", Json, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_eval_comparisons"),
        sa.ForeignKeyConstraint(["baseline_run"], ["eval_runs.id"], name="fk_eval_comparisons_baseline_run"),
        sa.ForeignKeyConstraint(["candidate_run"], ["eval_runs.id"], name="fk_eval_comparisons_candidate_run"),
    )
    op.create_index("ix_eval_comparisons_baseline_run", "eval_comparisons", ["baseline_run"])
    op.create_index("ix_eval_comparisons_candidate_run", "eval_comparisons", ["candidate_run"])
