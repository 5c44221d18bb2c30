"""The tables of masking rules and of salts for pseudonyms."""

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
    """Insert a rule."""
    conn.execute(rules.insert().values(**rule.model_dump()))


def delete(conn: sa.Connection, rule_id: str) -> bool:
    """Delete a rule. Return False when there is none of this id."""
    return conn.execute(rules.delete().where(rules.c.id == rule_id)).rowcount == 1


def get(conn: sa.Connection, rule_id: str) -> MaskingRule | None:
    """Return a rule; None when there is none of this id."""
    row = conn.execute(sa.select(rules).where(rules.c.id == rule_id)).first()
    return MaskingRule.model_validate(row_values(row)) if row is not None else None


def list_rules(conn: sa.Connection) -> list[MaskingRule]:
    """Return every rule, oldest first."""
    return [MaskingRule.model_validate(row_values(row)) for row in conn.execute(sa.select(rules).order_by(rules.c.id))]


def get_salt(conn: sa.Connection, name: str) -> str | None:
    """Return the salt of this name; None when it is not stored."""
    return conn.execute(sa.select(salts.c.salt).where(salts.c.name == name)).scalar()


def insert_salt(conn: sa.Connection, name: str, value: str) -> None:
    """Store the secret that pseudonyms of a kind are made with; once, for another would break them."""
    conn.execute(salts.insert().values(name=name, salt=value))
