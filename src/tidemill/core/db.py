"""One database: SQLite by default, PostgreSQL at scale, the same tables on both."""

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import JSONB

from tidemill.core.changes import Changes
from tidemill.core.errors import Conflict, Failed, Invalid, StorageFull, TidemillError, Unavailable

log = logging.getLogger("tidemill.core")

if TYPE_CHECKING:
    from alembic.config import Config

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""All tables of all features; each feature adds its own in its `store.py`."""

Json = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
"""A JSON column: JSONB on PostgreSQL. Python's None is SQL's NULL."""


class UtcDateTime(sa.TypeDecorator[datetime]):
    """A moment in UTC, always aware. SQLite keeps no zone, so it is put back on reading."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Refuse a time without a zone; store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Give back an aware time in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class SchemaTooNew(Conflict):
    """The database was made by a newer Tidemill."""

    code = "schema_too_new"


class NumberTooLarge(Invalid):
    """A whole number is larger than the database can hold."""

    code = "number_too_large"


class DatabaseUrlInvalid(Invalid):
    """The setting `database_url` names no database that can be used."""

    code = "database_url_invalid"


class DatabaseDamaged(Failed):
    """The file of the database is none, or is damaged."""

    code = "database_damaged"


class TextUnfit(Invalid):
    """A text has a character that the database cannot hold: NUL, or half of a surrogate pair."""

    code = "text_unfit"


_UNFIT_TEXT = "A text has a character that cannot be stored: NUL, or half of a surrogate pair."


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see _begin_sqlite
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout=15000")
    cursor.execute("PRAGMA journal_mode=WAL")
    # FULL: a reply of 200 must survive a power cut, not only a killed process.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    # What is deleted or changed is overwritten: a score that somebody takes back may name a user who is erased later.
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    # A writer takes its lock at the start: upgrading a read lock later can fail at once with "database is locked".
    mode = "DEFERRED" if connection.get_execution_options().get("readonly") else "IMMEDIATE"
    connection.exec_driver_sql(f"BEGIN {mode}")


_MIGRATIONS = Path(__file__).parent / "migrations"


@cache
def revisions() -> list[str]:
    """Return the revisions of the chain of migrations, oldest first: their files are named after them."""
    return sorted(path.name.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


def migration_config(url: str) -> "Config":
    """Return alembic's configuration for a database. Alembic, which takes 8 MB, is loaded on the first call."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def _read_revision(conn: sa.Connection) -> str | None:
    if not sa.inspect(conn).has_table("alembic_version"):
        return None
    revision: str | None = conn.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return revision


def _upgrade(conn: sa.Connection, url: str) -> None:
    """Run the migrations that are missing."""
    from alembic import command

    config = migration_config(url)
    config.attributes["connection"] = conn
    command.upgrade(config, "head")


def _parse_url(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.get_backend_name() not in ("sqlite", "postgresql", "postgres"):
        raise DatabaseUrlInvalid(
            "TIDEMILL_DATABASE_URL names no database that Tidemill knows.",
            hint="Write postgresql://user:password@host/name, or leave it out for SQLite in the home folder.",
            param="database_url",
        )
    return parsed


class Database:
    """A pool of connections, and the two ways to use one: `begin` to write, `read` to look.

    It holds `pool_size` open and `overflow` more when they are needed. Who waits for one longer than `patience_s`
    seconds gets Unavailable.
    """

    def __init__(self, url: str, *, pool_size: int = 10, overflow: int = 20, patience_s: float = 15.0) -> None:
        parsed = _parse_url(url)
        self._patience_s = patience_s
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        self.url = parsed
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        self.engine = self.open_pool(pool_size, overflow)
        self.changes = Changes(parsed.database if self.is_sqlite else None)

    def open_pool(self, size: int, overflow: int) -> sa.Engine:
        """Return a further pool of connections to this database, which the caller disposes of."""
        pool: dict[str, Any] = {"pool_size": size, "max_overflow": overflow, "pool_timeout": self._patience_s}
        if not self.is_sqlite:
            return sa.create_engine(self.url, **pool, pool_pre_ping=True, pool_recycle=1800)
        engine = sa.create_engine(self.url, **pool)
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
        return engine

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """A writing transaction: committed at the end, rolled back on any error."""
        with _translate_errors(), self.engine.begin() as conn:
            yield conn
        self.changes.notify()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A reading transaction; under SQLite it never waits for a writer."""
        with _translate_errors(), self.engine.connect().execution_options(readonly=True) as conn, conn.begin():
            yield conn

    def migrate(self) -> None:
        """Bring the schema to this version. Safe to call by several processes at once."""
        current, chain = self.revision(), revisions()
        if current == chain[-1]:
            return
        if current is not None and current not in chain:
            raise SchemaTooNew(
                f"The database is at revision {current}, which this version of Tidemill does not know.",
                hint="Upgrade Tidemill, or point TIDEMILL_HOME or TIDEMILL_DATABASE_URL elsewhere.",
            )
        with self.begin() as conn:
            if not self.is_sqlite:
                conn.execute(sa.text("SELECT pg_advisory_xact_lock(848417)"))
            # Another process may have done it since.
            current = _read_revision(conn)
            missing = chain[chain.index(current) + 1 :] if current is not None else chain
            _upgrade(conn, self.url_text)
        if missing:
            log.info("migrated the database from revision %s: ran %s", current or "none", ", ".join(missing))

    def ping(self) -> None:
        """Ask the database for nothing. Raises Unavailable when it does not answer."""
        with self.read() as conn:
            conn.execute(sa.text("SELECT 1"))

    def revision(self) -> str | None:
        """Return the migration the database stands at; None when it is empty."""
        with self.read() as conn:
            return _read_revision(conn)

    @property
    def url_text(self) -> str:
        """The URL with its password, for drivers."""
        return self.url.render_as_string(hide_password=False)

    def close(self) -> None:
        """Close every connection of the pool."""
        self.changes.close()
        self.engine.dispose()


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Turn what the driver says of a full disk, a lost connection and values it cannot hold into errors of ours."""
    try:
        yield
    except sa.exc.OperationalError as error:
        raise _translate(error) from error
    except sa.exc.TimeoutError as error:
        raise Unavailable("Every connection to the database is in use.", hint="Try again in a moment.") from error
    except UnicodeEncodeError as error:
        raise TextUnfit(_UNFIT_TEXT, hint="Send text that is whole in UTF-8.") from error
    except (OverflowError, sa.exc.DataError) as error:
        if "NUL" in str(error):
            raise TextUnfit(_UNFIT_TEXT, hint="Take the character out.") from error
        if "SQLite INTEGER" not in str(error) and "out of range" not in str(error):
            raise
        raise NumberTooLarge("A number is larger than the database can hold.", hint="Is it a typing error?") from error
    except sa.exc.DatabaseError as error:
        if "not a database" not in str(error.orig) and "malformed" not in str(error.orig):
            raise
        raise DatabaseDamaged(
            f"The database cannot be read: {error.orig}.", hint="Put a backup of it in its place."
        ) from error


def _translate(error: sa.exc.OperationalError) -> TidemillError:
    text = str(error.orig)
    if "disk is full" in text or "No space left" in text or "disk I/O error" in text:
        return StorageFull(f"The database cannot write: {text}.", hint="Free some disk space and try again.")
    if "locked" in text:
        return Unavailable("The database is busy: another process has held it for 15 s.", hint="Try again.")
    return Unavailable(f"The database does not answer: {text.strip()}.", hint="Check that it is running.")


def advisory_lock(conn: sa.Connection, name: str) -> None:
    """Let no other transaction hold `name` until this one ends: for "find the newest, then insert the next".

    Under SQLite there is one writer at a time anyway.
    """
    if conn.dialect.name == "postgresql":
        conn.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(name, 0))))


def insert_new(conn: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert those rows whose unique values are not in the table; another transaction may insert the same at once."""
    if rows:
        insert = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
        conn.execute(insert(table).on_conflict_do_nothing(), list(rows))


def row_values(row: sa.Row[*tuple[Any, ...]] | sa.RowMapping) -> dict[str, Any]:
    """Return a row as a dict, for building a value from it."""
    mapping = row if isinstance(row, sa.RowMapping) else row._mapping
    return dict(mapping)
