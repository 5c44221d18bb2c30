"""A real PostgreSQL server for the tests."""

import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

from tidemill.core.db import Database

PATIENCE_S = 120
OLDEST = 15


def find_binaries() -> Path:
    """Where initdb and postgres are: the newest of Debian's packages, else what is on the path."""
    packages = {int(place.name): place / "bin" for place in Path("/usr/lib/postgresql").glob("[0-9]*")}
    for version in sorted(packages, reverse=True):
        if version >= OLDEST and (packages[version] / "initdb").exists():
            return packages[version]
    found = shutil.which("initdb")
    if found is None:
        raise RuntimeError(f"PostgreSQL is not installed: install the package postgresql ({OLDEST} or newer)")
    return Path(found).resolve().parent


class Postgres:
    """One server on a Unix socket and a loopback port; databases are cloned from a migrated template."""

    options: Sequence[str] = (
        "-F", "-c", "max_connections=300", "-c", "full_page_writes=off", "-c", "max_wal_size=256MB",
    )  # fmt: skip
    """Of the server: nothing of it has to outlive the tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.binaries = find_binaries()
        # PostgreSQL refuses to run as root, so root starts it as the user that its package makes.
        self.user = "postgres" if os.geteuid() == 0 else None
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    def _run(self, *argv: str) -> None:
        subprocess.run(argv, check=True, capture_output=True, user=self.user, cwd="/")

    def start(self) -> None:
        """Make a cluster without durability (tests only) and the template."""
        data = self.folder / "data"
        if self.user:
            shutil.chown(self.folder, self.user)
        self._run(
            str(self.binaries / "initdb"), "-D", str(data), "-U", "tidemill", "-A", "trust", "-E", "UTF8",
            "--locale=C.UTF-8", "--no-sync",
        )  # fmt: skip
        deadline = time.monotonic() + PATIENCE_S
        while not self._ready():
            assert time.monotonic() < deadline, "PostgreSQL did not start"
            # At first, and when another process has taken the port in the moment before PostgreSQL did.
            if self.process is None or self.process.poll() is not None:
                self._launch(data)
            time.sleep(0.05)
        self._admin("CREATE DATABASE template_tidemill")
        db = Database(self.url("template_tidemill"))
        db.migrate()
        db.close()

    def _launch(self, data: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process = subprocess.Popen(
            [
                str(self.binaries / "postgres"), "-D", str(data), "-p", str(self.port), "-h", "127.0.0.1",
                "-k", "", *self.options,
            ],
            user=self.user, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def _ready(self) -> bool:
        argv = [str(self.binaries / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port), "-t", "1"]
        running = self.process is not None and self.process.poll() is None
        return running and subprocess.run(argv, capture_output=True, check=False).returncode == 0

    def url(self, name: str) -> str:
        """The SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://tidemill@127.0.0.1:{self.port}/{name}"

    def clone(self) -> str:
        """A new database with the schema; returns its URL."""
        name = f"test_{uuid.uuid4().hex}"
        self._admin(f"CREATE DATABASE {name} TEMPLATE template_tidemill")
        return self.url(name)

    def create(self) -> str:
        """A new, empty database without a schema; returns its URL."""
        name = f"test_{uuid.uuid4().hex}"
        self._admin(f"CREATE DATABASE {name}")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database, whoever is still connected to it."""
        self._admin(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def _admin(self, statement: str) -> None:
        engine = sa.create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as conn:
            conn.execute(sa.text(statement))
        engine.dispose()

    def stop(self) -> None:
        """End the server."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)  # at once: nothing of it is kept
            self.process.wait(timeout=PATIENCE_S)
