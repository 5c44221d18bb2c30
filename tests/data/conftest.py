"""A door to the real application whose jobs run, on SQLite or on both databases."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tidemill.core.http import Http, InProcessTransport
from tidemill.core.kernel import Kernel
from tidemill.core.settings import Settings
from tidemill.data.sdk import Data
from tidemill.data.types import DatasetVersion
from tidemill.jobs.service import JobQueue
from tidemill.server.app import build


@dataclass
class Desk:
    """The SDK, the kernel behind it, and a folder to write files in."""

    data: Data
    kernel: Kernel
    folder: Path

    def file(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def import_(self, filename: str, content: str | bytes, /, **options: Any) -> DatasetVersion:
        return self.data.import_(self.file(filename, content), **{"name": "set", **options})

    def rows(self, version: DatasetVersion) -> list[dict[str, Any]]:
        return [row for split in version.splits for row in self.data.rows(version.id, split=split.name)]


def jsonl(*rows: object) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _desk(settings: Settings, folder: Path) -> Iterator[Desk]:
    application = build(settings)
    application.kernel.get(JobQueue).start(application.kernel)
    http = Http("http://tidemill.local", transport=InProcessTransport(application.asgi))
    try:
        yield Desk(Data(http), application.kernel, folder)
    finally:
        http.close()
        application.kernel.get(JobQueue).stop()
        application.kernel.close()


@pytest.fixture
def desk(home: Path, tmp_path: Path) -> Iterator[Desk]:
    """On SQLite."""
    yield from _desk(Settings(home=home), tmp_path / "files")


@pytest.fixture
def both(home: Path, database_url: str, tmp_path: Path) -> Iterator[Desk]:
    """Once on SQLite, once on PostgreSQL."""
    url = None if database_url.startswith("sqlite") else database_url
    yield from _desk(Settings(home=home, database_url=url), tmp_path / "files")


@pytest.fixture
def untouched(desk: Desk) -> Iterator[Callable[[], None]]:
    """Checks, when the test ends, that nothing was written but uploaded blobs."""
    yield lambda: None
    assert desk.data.list().items == []
    work = desk.kernel.settings.home / "work"
    assert [path for path in work.rglob("*") if path.is_file()] == []
