"""The table of price rules."""

from datetime import datetime

import sqlalchemy as sa

from tidemill.core.db import UtcDateTime, metadata, row_values
from tidemill.traces.types.prices import Price

prices = sa.Table(
    "trace_prices",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("model", sa.String(200), nullable=False),
    sa.Column("provider", sa.String(200)),
    sa.Column("input_per_million", sa.Float),
    sa.Column("cached_per_million", sa.Float),
    sa.Column("output_per_million", sa.Float),
    sa.Column("per_call", sa.Float),
    sa.Column("per_hour", sa.Float),
    sa.Column("since", UtcDateTime, nullable=False),
    sa.Column("until", UtcDateTime),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("created_by", sa.String(120), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)


def insert(conn: sa.Connection, price: Price) -> None:
    """Insert a rule."""
    conn.execute(prices.insert().values(**price.model_dump()))


def get(conn: sa.Connection, price_id: str) -> Price | None:
    """Return a rule; None when there is none of this id."""
    row = conn.execute(sa.select(prices).where(prices.c.id == price_id)).first()
    return Price.model_validate(row_values(row)) if row is not None else None


def end(conn: sa.Connection, price_id: str, at: datetime) -> bool:
    """Set when a rule ended. Return False, changing nothing, when it ended before."""
    current = (prices.c.id == price_id, prices.c.until.is_(None))
    return conn.execute(prices.update().where(*current).values(until=at)).rowcount == 1


def list_all(conn: sa.Connection) -> list[Price]:
    """Return every rule, newest first."""
    return [
        Price.model_validate(row_values(row)) for row in conn.execute(sa.select(prices).order_by(prices.c.id.desc()))
    ]


def list_page(conn: sa.Connection, *, before: str | None, ended: bool, limit: int) -> list[Price]:
    """Return rules with ids before `before`, newest first."""
    query = sa.select(prices).order_by(prices.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(prices.c.id < before)
    if not ended:
        query = query.where(prices.c.until.is_(None))
    return [Price.model_validate(row_values(row)) for row in conn.execute(query)]
