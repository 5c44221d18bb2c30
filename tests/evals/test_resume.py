"""A server that is killed in the middle of a run: nothing recorded is asked again, nothing is lost or doubled."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.evals import endpoint as outside
from tests.evals.conftest import LABELLED, labelled
from tidemill.client import Client
from tidemill.core import server_lock


@contextmanager
def _server(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "TIDEMILL_HOME": str(home)}
    argv = [sys.executable, "-m", "tidemill", "up", "--port", "0"]
    process = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while (live := server_lock.find(home)) is None or live.pid != process.pid:
            assert process.poll() is None, "the server ended while starting"
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.05)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()


def _recorded(home: Path, run_id: str) -> set[int]:
    with sqlite3.connect(home / "tidemill.db") as conn:
        return {row[0] for row in conn.execute("SELECT seq FROM eval_results WHERE run_id = ?", (run_id,))}


@pytest.mark.slow
def test_a_killed_run_goes_on_and_asks_nothing_twice_that_was_recorded(home: Path, tmp_path: Path) -> None:
    count, at_once = 120, 4
    source = tmp_path / "questions.jsonl"
    with outside.running(tmp_path, delay=0.05) as endpoint:
        with _server(home) as process, Client() as client:
            import json

            source.write_text("".join(json.dumps(row) + "\n" for row in labelled(count)))
            version = client.data.import_(source, name="questions", recipe={"steps": []})
            client.evals.create_set("quiz", version.ref, split="train")
            target = {"base_url": endpoint.url, "model": "good"}
            run = client.evals.run("quiz", target, [LABELLED], concurrency=at_once)
            while len(endpoint.requests()) < count // 3 or not _recorded(home, run.id):
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
            process.wait()
        before = _recorded(home, run.id)
        assert 0 < len(before) < count

        with _server(home), Client() as client:
            ended = client.evals.wait(run.id, timeout=120)
            results = client.evals.results(run.id, limit=500).items
            items = client.evals.items("quiz", limit=500).items
        requests = Counter(endpoint.texts())

    assert ended.state == "succeeded"
    assert ended.figures is not None
    assert (ended.figures.answers, ended.figures.failures) == (count, 0)
    assert [r.seq for r in results] == list(range(count))
    assert set(requests) == {row["text"] for row in labelled(count)}
    assert [requests[items[seq].messages[-1].content] for seq in before] == [1] * len(before)
    # Only what was in flight, or answered within the last moment before the kill, is asked again, and once.
    assert max(requests.values()) <= 2
