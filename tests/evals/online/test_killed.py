"""A server that is killed in the middle of scoring."""

from pathlib import Path

import httpx
import pytest

from tests.deployments.live import LiveServer, wait_for
from tests.traces.answers import trace_id
from tests.traces.otlp import export

CALLS = 2000


@pytest.mark.slow
def test_after_kill_9_every_call_is_scored_and_none_twice(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "home")
    server.start()
    try:
        with server.client() as client:
            spec = {"scorer": "regex", "config": {"pattern": "LOC"}}
            client.evals.online.create("names-place", spec, share=1.0, per_day=2 * CALLS)
        for begin in range(0, CALLS, 500):
            send(server, range(begin, begin + 500))
        with server.client() as client:
            wait_for(lambda: client.evals.online.get("names-place").counts.scored > 0)
        server.kill()
        server.start()
        with server.client() as client:
            before = client.evals.online.get("names-place").counts.scored
            assert 0 < before <= CALLS
            wait_for(lambda: client.evals.online.get("names-place").counts.scored == CALLS)
            counts = client.evals.online.get("names-place").counts
            points = client.scores.series(by="none", bucket_seconds=10**9).points
            assert (counts.seen, counts.sampled, counts.failed) == (CALLS, CALLS, 0)
            assert [(p.count, p.mean) for p in points] == [(CALLS, 1.0)]
            assert client.scores.list(trace_id=trace_id(CALLS - 1)).items[0].author == "online/names-place"
    finally:
        server.stop()


def send(server: LiveServer, numbers: range) -> None:
    """Send spans and have them acknowledged."""
    headers = {"authorization": f"Bearer {server.token}", "content-type": "application/json"}
    reply = httpx.post(f"{server.url}/v1/traces", content=export(numbers), headers=headers, timeout=120)
    assert reply.status_code == 200, reply.text
