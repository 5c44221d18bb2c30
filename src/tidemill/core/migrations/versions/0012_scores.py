"""Scores, feedback, collections of answers, and online evaluators."""

import sqlalchemy as sa
from alembic import op

from tidemill.core.db import Json, UtcDateTime

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _scores()
    _collections()
    _online()


def _scores() -> None:
    op.create_table(
        "scores",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("target", sa.String(49), nullable=False),
        sa.Column("trace_id", sa.String(32), nullable=False),
        sa.Column("span_id", sa.String(16)),
        sa.Column("response_id", sa.Text()),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("value", sa.Float()),
        sa.Column("label", sa.String(200)),
        sa.Column("comment", sa.Text()),
        sa.Column("correction", Json),
        sa.Column("source", sa.String(8), nullable=False),
        sa.Column("scorer", sa.String(120)),
        sa.Column("author", sa.String(120), nullable=False),
        sa.Column("recorded_by", sa.String(120), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("release_id", sa.String(40)),
        sa.Column("environment", sa.String(63)),
        sa.Column("deployment_id", sa.String(40)),
        sa.Column("model", sa.Text()),
        sa.Column("user", sa.Text()),
        sa.Column("session", sa.Text()),
        sa.Column("span_start", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_scores"),
        sa.UniqueConstraint(
            "target", "name", "source", "author", "recorded_by", name="uq_scores_target_name_source_author_recorded_by"
        ),
    )
    op.create_index("ix_scores_trace_id", "scores", ["trace_id"])
    op.create_index("ix_scores_response_id", "scores", ["response_id"])
    op.create_index("ix_scores_name_span_start", "scores", ["name", "span_start"])
    op.create_index("ix_scores_release_id_name_span_start", "scores", ["release_id", "name", "span_start"])


def _collections() -> None:
    op.create_table(
        "trace_collections",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("dataset", sa.String(63), nullable=False),
        sa.Column("version_id", sa.String(40), nullable=False),
        sa.Column("job_id", sa.String(40)),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("quarantined", Json, nullable=False),
        sa.Column("source_hash", sa.String(80), nullable=False),
        sa.Column("sources", Json, nullable=False),
        sa.Column("spec", Json, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(120), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_trace_collections"),
    )
    op.create_index("ix_trace_collections_dataset_id", "trace_collections", ["dataset", "id"])
    op.create_table(
        "trace_collection_items",
        sa.Column("collection_id", sa.String(40), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("trace_id", sa.String(32), nullable=False),
        sa.Column("span_id", sa.String(16), nullable=False),
        sa.Column("response_id", sa.Text()),
        sa.Column("user", sa.Text()),
        sa.Column("reason", sa.String(12)),
        sa.Column("row", sa.Integer()),
        sa.Column("corrected", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("collection_id", "seq", name="pk_trace_collection_items"),
        sa.ForeignKeyConstraint(
            ["collection_id"], ["trace_collections.id"], name="fk_trace_collection_items_collection_id"
        ),
    )
    op.create_index("ix_trace_collection_items_trace_id", "trace_collection_items", ["trace_id"])


def _online() -> None:
    op.create_table(
        "online_evaluators",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("spec", Json, nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("position", sa.Text(), nullable=False),
        sa.Column("counts", Json, nullable=False),
        sa.Column("day", sa.String(10)),
        sa.Column("judged_today", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text()),
        sa.Column("scored_at", UtcDateTime()),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(120), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_online_evaluators"),
        sa.UniqueConstraint("name", name="uq_online_evaluators_name"),
    )
    op.create_table(
        "online_corrections",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("evaluator_id", sa.String(40), nullable=False),
        sa.Column("score_id", sa.String(40), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_online_corrections"),
        sa.ForeignKeyConstraint(["evaluator_id"], ["online_evaluators.id"], name="fk_online_corrections_evaluator_id"),
    )
    op.create_index("ix_online_corrections_evaluator_id_id", "online_corrections", ["evaluator_id", "id"])
