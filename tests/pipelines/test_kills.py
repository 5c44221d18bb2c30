"""kill -9 of the server in the middle of a run: it goes on, and nothing is done twice."""

from pathlib import Path

import pytest

from tests.deployments.live import LiveServer, wait_for
from tests.pipelines.conftest import questions, small, write_rows
from tidemill.client import Client
from tidemill.pipelines.types import PipelineSpec, RunDetail


def _sees(client: Client, run_id: str, step: str) -> bool:
    run: RunDetail = client.runs.get(run_id)
    run_step = run.step(step)
    return run_step is not None and run_step.state != "pending"


@pytest.mark.slow
def test_a_run_survives_kills_anywhere_and_does_nothing_twice(tmp_path: Path) -> None:
    write_rows(tmp_path / "questions.jsonl", questions(600))
    server = LiveServer(tmp_path / "home")
    server.start()
    try:
        with server.client() as client:
            client.pipelines.apply(PipelineSpec.model_validate(small()), folder=tmp_path)
            run = client.runs.start("small")
            wait_for(lambda: _sees(client, run.id, "data"))
        server.kill()
        server.start()
        with server.client() as client:
            wait_for(lambda: _sees(client, run.id, "naive-bayes/questions-test"))
        server.kill()
        server.start()
        with server.client() as client:
            done = client.runs.wait(run.id, timeout=120)
            assert done.state == "succeeded"
            assert [s.state for s in done.steps] == ["succeeded"] * 3
            assert len(client.jobs.list(kind="data.import").items) == 1
            assert len(client.jobs.list(kind="evals.run").items) == 1
            assert client.data.get("questions").latest == 1
            assert client.evals.runs().items[0].figures.items == 180
    finally:
        server.stop()
