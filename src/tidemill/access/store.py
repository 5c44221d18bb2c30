"""The tables of people and API keys."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tidemill.access.types import Key, Person
from tidemill.core.db import Json, UtcDateTime, metadata, row_values

people = sa.Table(
    "people",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(63), nullable=False, unique=True),
    sa.Column("display_name", sa.String(200)),
    sa.Column("email", sa.String(320)),
    sa.Column("roles", Json, nullable=False),
    sa.Column("disabled", sa.Boolean, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("person_id", sa.String(40), sa.ForeignKey("people.id"), nullable=False),
    sa.Column("name", sa.String(120), nullable=False),
    sa.Column("hint", sa.String(16), nullable=False),
    sa.Column("secret_hash", sa.String(64), nullable=False, unique=True),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime),
    sa.Column("revoked_at", UtcDateTime),
    sa.Column("last_used_at", UtcDateTime),
    sa.Index("ix_api_keys_person_id", "person_id"),
)

_KEY_COLUMNS = (
    api_keys.c.id,
    people.c.name.label("person"),
    api_keys.c.name,
    api_keys.c.hint,
    api_keys.c.created_at,
    api_keys.c.expires_at,
    api_keys.c.revoked_at,
    api_keys.c.last_used_at,
)


def insert_person(conn: sa.Connection, person: Person) -> None:
    """Write a new person."""
    conn.execute(people.insert().values(**person.model_dump()))


def update_person(conn: sa.Connection, person_id: str, **values: Any) -> None:
    """Update columns of a person."""
    conn.execute(people.update().where(people.c.id == person_id).values(**values))


def find_person(conn: sa.Connection, *, name: str | None = None, person_id: str | None = None) -> Person | None:
    """Return one person by name or id, or None."""
    where = people.c.name == name if name is not None else people.c.id == person_id
    row = conn.execute(sa.select(people).where(where)).first()
    return Person.model_validate(row_values(row)) if row else None


def list_people(conn: sa.Connection) -> list[Person]:
    """Return all people, ordered by name."""
    rows = conn.execute(sa.select(people).order_by(people.c.name))
    return [Person.model_validate(row_values(row)) for row in rows]


def insert_key(conn: sa.Connection, key: Key, person_id: str, secret_hash: str) -> None:
    """Write a new key, with only the hash of its secret."""
    values = key.model_dump(exclude={"person"}) | {"person_id": person_id, "secret_hash": secret_hash}
    conn.execute(api_keys.insert().values(**values))


def revoke_key(conn: sa.Connection, key_id: str, at: datetime) -> bool:
    """Set when a key was revoked. Return False, changing nothing, when it was before."""
    unrevoked = (api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
    return conn.execute(api_keys.update().where(*unrevoked).values(revoked_at=at)).rowcount == 1


def update_key(conn: sa.Connection, key_id: str, **values: Any) -> None:
    """Update columns of a key."""
    conn.execute(api_keys.update().where(api_keys.c.id == key_id).values(**values))


def find_key(conn: sa.Connection, key_id: str) -> Key | None:
    """Return one key by its id, or None."""
    row = conn.execute(sa.select(*_KEY_COLUMNS).join(people).where(api_keys.c.id == key_id)).first()
    return Key.model_validate(row_values(row)) if row else None


def list_keys(conn: sa.Connection, *, person: str | None, before: str | None, limit: int) -> list[Key]:
    """Return keys, newest first."""
    query = sa.select(*_KEY_COLUMNS).join(people).order_by(api_keys.c.id.desc()).limit(limit)
    if person is not None:
        query = query.where(people.c.name == person)
    if before is not None:
        query = query.where(api_keys.c.id < before)
    return [Key.model_validate(row_values(row)) for row in conn.execute(query)]


def find_key_and_person(conn: sa.Connection, secret_hash: str) -> tuple[Key, Person] | None:
    """Return the key with this hash and its owner, or None."""
    row = conn.execute(
        sa.select(*_KEY_COLUMNS, people.c.id.label("owner_id"))
        .join(people)
        .where(api_keys.c.secret_hash == secret_hash)
    ).first()
    if row is None:
        return None
    values = row_values(row)
    person = find_person(conn, person_id=values.pop("owner_id"))
    return (Key.model_validate(values), person) if person else None


def touch_key(conn: sa.Connection, key_id: str, at: datetime) -> None:
    """Write when a key was last used."""
    update_key(conn, key_id, last_used_at=at)
