"""Models, their versions, evidence and aliases."""

import sqlalchemy as sa
from alembic import op

from tidemill.core.db import Json, UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "models",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("versions", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(120), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
        sa.UniqueConstraint("name", name="uq_models_name"),
    )
    op.create_table(
        "model_versions",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("model_id", sa.String(40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("format", sa.String(16), nullable=False),
        sa.Column("files", Json, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("content_hash", sa.String(80), nullable=False),
        sa.Column("chat_template", sa.Text()),
        sa.Column("chat_template_hash", sa.String(80)),
        sa.Column("facts", Json, nullable=False),
        sa.Column("parents", Json, nullable=False),
        sa.Column("licence", sa.String(200)),
        sa.Column("card", Json, nullable=False),
        sa.Column("servable", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(120), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_model_versions"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_model_versions_model_id"),
        sa.UniqueConstraint("model_id", "number", name="uq_model_versions_model_id_number"),
        sa.UniqueConstraint("model_id", "content_hash", name="uq_model_versions_model_id_content_hash"),
    )
    op.create_table(
        "model_evidence",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("version_id", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("hop", sa.String(200), nullable=False),
        sa.Column("against", sa.String(40)),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("report", Json, nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("by", sa.String(120), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_model_evidence"),
        sa.ForeignKeyConstraint(["version_id"], ["model_versions.id"], name="fk_model_evidence_version_id"),
    )
    op.create_index("ix_model_evidence_version_id", "model_evidence", ["version_id"])
    op.create_table(
        "model_alias_changes",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("model_id", sa.String(40), nullable=False),
        sa.Column("alias", sa.String(63), nullable=False),
        sa.Column("version_id", sa.String(40)),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("by", sa.String(120), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_model_alias_changes"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_model_alias_changes_model_id"),
        sa.ForeignKeyConstraint(["version_id"], ["model_versions.id"], name="fk_model_alias_changes_version_id"),
        sa.UniqueConstraint("model_id", "alias", "sequence", name="uq_model_alias_changes_model_id_alias_sequence"),
    )
    op.create_index("ix_model_alias_changes_version_id", "model_alias_changes", ["version_id"])
