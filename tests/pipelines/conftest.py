"""A door to the real application whose jobs run, and a small loop on disk."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidemill.core.http import Http, InProcessTransport
from tidemill.core.kernel import Kernel
from tidemill.core.settings import Settings
from tidemill.jobs.sdk import Jobs
from tidemill.jobs.service import JobQueue
from tidemill.pipelines.sdk import Pipelines, Runs
from tidemill.pipelines.types import RunDetail
from tidemill.server.app import build

KINDS = (("how", "NUM"), ("where", "LOC"), ("who", "HUM"))


def questions(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Questions whose first word tells their type, all different enough to be no near-duplicates."""
    return [
        {"text": f"{KINDS[i % 3][0]} {i * 7919:x} {i * 104729:x} question", "label": KINDS[i % 3][1]}
        for i in range(start, start + count)
    ]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def small(**more: Any) -> dict[str, Any]:
    """A loop without a model: import, clean, split, an eval set, Naive Bayes."""
    return {
        "name": "small",
        "data": {
            "dataset": "questions",
            "sources": [{"path": "questions.jsonl"}],
            "split": {"ratios": {"train": 0.7, "test": 0.3}, "seed": 3},
        },
        "evals": [
            {
                "name": "questions-test",
                "split": "test",
                "naive_bayes": "train",
                "scorers": [{"scorer": "label_accuracy", "name": "accuracy"}],
            }
        ],
    } | more


@dataclass
class Desk:
    """The SDK, the kernel behind it, a folder with the document."""

    pipelines: Pipelines
    runs: Runs
    jobs: Jobs
    kernel: Kernel
    folder: Path

    def write(self, document: dict[str, Any] | None = None, rows: int = 60) -> Path:
        """The document and its rows on disk."""
        if rows:
            write_rows(self.folder / "questions.jsonl", questions(rows))
        path = self.folder / "tidemill.yaml"
        path.write_text(yaml.safe_dump(document or small(), sort_keys=False))
        return path

    def turned(self, name: str = "small", **options: Any) -> RunDetail:
        """A run that has ended."""
        return self.runs.wait(self.runs.start(name, **options).id, check=False, timeout=120)


def opened(settings: Settings, folder: Path) -> Iterator[Desk]:
    """An application with its jobs running."""
    folder.mkdir(parents=True, exist_ok=True)
    application = build(settings)
    application.kernel.get(JobQueue).start(application.kernel)
    http = Http("http://tidemill.local", transport=InProcessTransport(application.asgi))
    try:
        yield Desk(Pipelines(http), Runs(http), Jobs(http), application.kernel, folder)
    finally:
        http.close()
        application.kernel.get(JobQueue).stop()
        application.kernel.close()


@pytest.fixture
def desk(home: Path, tmp_path: Path) -> Iterator[Desk]:
    """On SQLite."""
    yield from opened(Settings(home=home), tmp_path / "files")


@pytest.fixture
def both(home: Path, database_url: str, tmp_path: Path) -> Iterator[Desk]:
    """Once on SQLite, once on PostgreSQL."""
    url = None if database_url.startswith("sqlite") else database_url
    yield from opened(Settings(home=home, database_url=url), tmp_path / "files")
