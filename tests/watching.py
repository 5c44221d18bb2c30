"""A blob store that notes whether others could write to the database while it worked."""

import sqlite3
from pathlib import Path
from typing import Any

from tidemill.core.blobs import LocalBlobs
from tidemill.core.kernel import Kernel


class WatchedBlobs(LocalBlobs):
    """A local store; `uses` has the name of each use, `held` of those that kept others waiting."""

    def __init__(self, root: Path, database: Path) -> None:
        super().__init__(root)
        self.database = database
        self.uses: list[str] = []
        self.held: list[str] = []

    def _look(self, use: str) -> None:
        self.uses.append(use)
        conn = sqlite3.connect(self.database, timeout=0, isolation_level=None)
        try:
            conn.execute("BEGIN IMMEDIATE")
            conn.execute("ROLLBACK")
        except sqlite3.OperationalError:
            self.held.append(use)
        finally:
            conn.close()

    def path(self, *args: Any) -> Path:
        self._look("path")
        return super().path(*args)

    def open(self, *args: Any) -> Any:
        self._look("open")
        return super().open(*args)

    def find(self, *args: Any) -> Any:
        self._look("find")
        return super().find(*args)

    def exists(self, *args: Any) -> bool:
        self._look("exists")
        return super().exists(*args)

    def claim(self, *args: Any) -> Any:
        self._look("claim")
        return super().claim(*args)

    def put_bytes(self, *args: Any) -> Any:
        self._look("put_bytes")
        return super().put_bytes(*args)


def watch_blobs(kernel: Kernel) -> WatchedBlobs:
    """Let a kernel on SQLite use a watched store from now on."""
    home = kernel.settings.home
    made = kernel.blobs = WatchedBlobs(home / "blobs", home / "tidemill.db")
    return made
