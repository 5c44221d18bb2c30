"""What all tests share: a home, a client on it, and both databases."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Before the first import of pydantic: logfire, which the tests of traces need, would load into every process.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
if "PYTEST_XDIST_WORKER" in os.environ:
    # The workers share the cores: engines and trainers of two tests that took all of them would wait for each other.
    os.environ.setdefault("TIDEMILL_THREADS", "1")

import pytest

from tests import quick
from tests.deployments.live import fill
from tests.pools import NestedCheckouts
from tests.postgres import Postgres
from tests.shared import make_once
from tidemill.client import Client
from tidemill.core.actors import OWNER
from tidemill.core.db import Database
from tidemill.core.kernel import Kernel
from tidemill.core.settings import Settings
from tidemill.server.app import build_kernel


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--quick`, which `make quick` sets."""
    parser.addoption("--quick", action="store_true", help="Leave out what needs an engine, training or PostgreSQL.")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("quick"):
        quick.guard()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest first: begun last, they would run on alone when every other worker has ended."""
    quick.select(config, items)
    longest = ("tests/e2e/", "tests/tuning/")
    items.sort(key=lambda item: next((n for n, place in enumerate(longest) if item.nodeid.startswith(place)), 9))


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "TIDEMILL_URL",
        "TIDEMILL_API_KEY",
        "TIDEMILL_HOME",
        "TIDEMILL_DATABASE_URL",
        "TIDEMILL_BLOB_URL",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database with the schema, made by the migrations."""
    path = tmp_path_factory.mktemp("template") / "tidemill.db"
    db = Database(f"sqlite:///{path}")
    db.migrate()
    db.close()
    return path


@pytest.fixture(scope="session")
def filled_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with releases of the packaged model, for `served`, which copies it. Shared: nobody writes to it."""
    return make_once(tmp_path_factory, "filled", fill)


@pytest.fixture(autouse=True)
def _schema_from_template(sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy the migrated file for each new home: going through all migrations takes five times as long."""
    migrate = Database.migrate

    def copy_then_migrate(db: Database) -> None:
        path = Path(db.url.database or "")
        if db.is_sqlite and not path.exists():
            shutil.copyfile(sqlite_template, path)
        migrate(db)

    monkeypatch.setattr(Database, "migrate", copy_then_migrate)


@pytest.fixture(scope="session")
def nested_checkouts() -> Iterator[NestedCheckouts]:
    """What watches the pools of all tests."""
    watcher = NestedCheckouts()
    with watcher.watch():
        yield watcher


@pytest.fixture(autouse=True)
def _no_nested_checkout(nested_checkouts: NestedCheckouts) -> Iterator[None]:
    """Fail a test in which a thread takes two connections of one pool."""
    nested_checkouts.stacks.clear()
    yield
    assert not nested_checkouts.stacks, nested_checkouts.stacks[0]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, which the environment points to."""
    folder = tmp_path / "home"
    monkeypatch.setenv("TIDEMILL_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
@quick.needs("postgres")
def postgres(pytestconfig: pytest.Config) -> Iterator[Postgres]:
    """A PostgreSQL server of the tests' own, with the schema in a template database."""
    assert not pytestconfig.getoption("quick"), "a quick run starts no PostgreSQL: mark the test 'postgres'"
    # Not below pytest's own folder: each session closes that to other users, and for root the server runs as one.
    with tempfile.TemporaryDirectory(prefix="tidemill-postgres-", dir=_memory(), ignore_cleanup_errors=True) as folder:
        server = Postgres(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _memory() -> str | None:
    """Where a database is made in a tenth of the time, if this machine has room there."""
    place = Path("/dev/shm")
    roomy = place.is_dir() and os.access(place, os.W_OK) and shutil.disk_usage(place).free > 4 << 30
    return str(place) if roomy else None


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an up-to-date, empty database: once SQLite, once PostgreSQL."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'home' / 'tidemill.db'}"
        db = Database(url)
        db.migrate()
        db.close()
        yield url
        return
    server: Postgres = request.getfixturevalue("postgres")
    url = server.clone()
    yield url
    server.drop(url)


@pytest.fixture
def kernel(home: Path, database_url: str) -> Iterator[Kernel]:
    """A kernel on each of the two databases."""
    url = None if database_url.startswith("sqlite") else database_url
    made = build_kernel(Settings(home=home, database_url=url))
    yield made
    made.close()


@pytest.fixture
def ctx(kernel: Kernel):
    """One unit of work of the owner, on each of the two databases."""
    with kernel.write(OWNER) as context:
        yield context


@pytest.fixture
def client(home: Path) -> Iterator[Client]:
    """The SDK on an embedded home (SQLite)."""
    with Client() as made:
        yield made
