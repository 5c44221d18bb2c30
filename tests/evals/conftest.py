"""A door to the real application whose jobs run, a dataset in it, and an endpoint outside it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.evals import endpoint as outside
from tidemill.core.http import Http, InProcessTransport
from tidemill.core.kernel import Kernel
from tidemill.core.settings import Settings
from tidemill.data.sdk import Data
from tidemill.data.types import DatasetVersion
from tidemill.evals.sdk import Evals
from tidemill.evals.types import EvalRun
from tidemill.jobs.service import JobQueue
from tidemill.server.app import build

LABELLED = {"scorer": "label_accuracy", "name": "accuracy", "config": {"json_field": "type"}}


@dataclass
class Desk:
    """The SDK, the kernel behind it, an outside endpoint."""

    http: Http
    evals: Evals
    data: Data
    kernel: Kernel
    folder: Path
    outside: outside.Running

    def dataset(self, rows: list[dict[str, Any]], name: str = "questions", **options: Any) -> DatasetVersion:
        """A dataset version of these rows, uncleaned."""
        path = self.folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return self.data.import_(path, name=name, recipe={"steps": []}, **options)

    def endpoint(self, model: str = "good", **more: Any) -> dict[str, Any]:
        """A target at the outside endpoint."""
        return {"base_url": self.outside.url, "model": model, **more}

    def finished(self, eval_set: str, target: dict[str, Any], scorers: Any = None, **options: Any) -> EvalRun:
        """A run that has ended well."""
        run = self.evals.run(eval_set, target, scorers or [LABELLED], **options)
        return self.evals.wait(run.id, timeout=120)


def labelled(count: int, per_cluster: int = 2) -> list[dict[str, Any]]:
    """Questions whose first word tells their type."""
    kinds = (("how", "NUM"), ("where", "LOC"), ("who", "HUM"))
    rows = []
    for i in range(count):
        word, label = kinds[i % 3]
        rows.append({"text": f"{word} question {i}", "label": label, "doc": f"d{i // per_cluster}"})
    return rows


def _desk(settings: Settings, folder: Path) -> Iterator[Desk]:
    folder.mkdir(parents=True, exist_ok=True)
    application = build(settings)
    application.kernel.get(JobQueue).start(application.kernel)
    http = Http("http://tidemill.local", transport=InProcessTransport(application.asgi))
    with outside.running(folder) as endpoint:
        try:
            yield Desk(http, Evals(http), Data(http), application.kernel, folder, endpoint)
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
def outside_endpoint(tmp_path: Path) -> Iterator[outside.Running]:
    """Only the endpoint."""
    with outside.running(tmp_path) as running:
        yield running
