"""Rows of masking rules, and the salt of pseudonyms."""

import sqlalchemy as sa

from tidemill.core.db import Json, UtcDateTime, metadata, row_values
from tidemill.traces.types.masking import MaskingRule

rules = sa.Table(
    "trace_masking_rules",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("kinds", Json, nullable=False),
    sa.Column("pattern", sa.Text),
    sa.Column("keys", Json, nullable=False),
    sa.Column("replacement", sa.String(100), nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("created_by", sa.String(120), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

salts = sa.Table(
    "trace_salts",
    metadata,
    sa.Column("name", sa.String(40), primary_key=True),
    sa.Column("salt", sa.String(64), nullable=False),
)


def insert(conn: sa.Connection, rule: MaskingRule) -> None:
    """Write a new rule."""
    conn.execute(rules.insert().values(**rule.model_dump()))


def delete(conn: sa.Connection, rule_id: str) -> None:
    """Remove a rule."""
    conn.execute(rules.delete().where(rules.c.id == rule_id))


def get(conn: sa.Connection, rule_id: str) -> MaskingRule | None:
    """One rule."""
    row = conn.execute(sa.select(rules).where(rules.c.id == rule_id)).first()
    return MaskingRule.model_validate(row_values(row)) if row is not None else None


def every(conn: sa.Connection) -> list[MaskingRule]:
    """Every rule, oldest first."""
    return [MaskingRule.model_validate(row_values(row)) for row in conn.execute(sa.select(rules).order_by(rules.c.id))]


def salt(conn: sa.Connection, name: str) -> str | None:
    """The salt of this name."""
    return conn.execute(sa.select(salts.c.salt).where(salts.c.name == name)).scalar()


def put_salt(conn: sa.Connection, name: str, value: str) -> None:
    """Write a new salt."""
    conn.execute(salts.insert().values(name=name, salt=value))
