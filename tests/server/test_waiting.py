"""Nobody waits to write while files are fetched or judged."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.registry.makers import write_gguf
from tests.watching import WatchedBlobs, watch_blobs
from tidemill.core.http import Http, InProcessTransport
from tidemill.core.settings import Settings
from tidemill.data.sdk import Data
from tidemill.evals.sdk import Evals
from tidemill.jobs.service import JobQueue
from tidemill.registry.sdk import Models
from tidemill.server.app import build


@pytest.fixture
def door(home: Path) -> Iterator[tuple[Http, WatchedBlobs]]:
    application = build(Settings(home=home))
    watched = watch_blobs(application.kernel)
    application.kernel.get(JobQueue).start(application.kernel)
    http = Http("http://tidemill.local", transport=InProcessTransport(application.asgi))
    yield http, watched
    http.close()
    application.kernel.get(JobQueue).stop()
    application.kernel.close()


def test_files_are_fetched_before_the_transaction(door: tuple[Http, WatchedBlobs], tmp_path: Path) -> None:
    http, watched = door
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": f"number {n}", "label": "ab"[n % 2]}) + "\n" for n in range(8)))
    version = Data(http).import_(rows, name="rows", recipe={"steps": []})
    assert watched.uses.count("claim") == 1
    Evals(http).create_set("quiz", version.ref, split=version.splits[0].name)
    assert "put_bytes" in watched.uses
    Models(http).add(write_gguf(tmp_path / "tiny.gguf"), name="tiny")
    assert watched.uses.count("claim") > 1
    assert watched.held == []
