"""The whole loop on a real server with a real engine: gate against prod, a person's yes, a rollout."""

from pathlib import Path
from typing import Any

import pytest

from tests.deployments.live import LiveServer
from tests.pipelines.conftest import questions, write_rows
from tidemill.client import Client
from tidemill.pipelines.types import PipelineSpec, RunDetail


def loop(system: str, **prod: Any) -> PipelineSpec:
    """A loop that changes a prompt and trains nothing."""
    return PipelineSpec.model_validate(
        {
            "name": "hello",
            "model": "smollm2",
            "prompt": {"name": "kind", "system": system},
            "data": {
                "dataset": "questions",
                "sources": [{"path": "questions.jsonl"}],
                "split": {"ratios": {"train": 0.5, "test": 0.5}, "seed": 3},
            },
            "evals": [
                {"name": "kinds", "limit": 16, "scorers": [{"scorer": "label_accuracy", "name": "accuracy"}]},
            ],
            "release": {"name": "hello", "sampling": {"temperature": 0.0, "max_tokens": 3}},
            "gates": [
                {"name": "kind-quality", "eval": "kinds", "metric": "accuracy", "kind": "non_inferiority",
                 "margin": 0.9}
            ],
            "environments": ["dev", "qa", {"name": "prod", **prod}],
        }
    )  # fmt: skip


def approved(client: Client, approver: Client, run: RunDetail) -> RunDetail:
    waiting = client.runs.wait(run.id, until_waiting=True, timeout=240)
    assert waiting.step("approve/prod").state == "waiting", waiting
    approval = client.releases.approvals(environment="prod").items[0]
    assert approval.verdict == "pass"
    approver.releases.approve(approval.id, reason="fine")
    return client.runs.wait(run.id, timeout=120)


@pytest.mark.slow
@pytest.mark.engine
def test_a_release_goes_all_the_way_and_the_next_is_judged_against_it(tmp_path: Path) -> None:
    write_rows(tmp_path / "questions.jsonl", questions(60))
    server = LiveServer(tmp_path / "home")
    server.start()
    try:
        with server.client() as client:
            client.models.add_packaged("smollm2")
            client.access.create_person("amir", ["approver"])
            key = client.access.create_key("amir", name="test").secret
            approver = server.client(key)

            client.pipelines.apply(loop("Answer HUM, LOC or NUM."), folder=tmp_path)
            first = approved(client, approver, client.runs.start("hello"))
            assert (first.state, first.verdict, first.release) == ("succeeded", "pass", "hello@1")
            assert first.step("baseline/kind-quality").outputs["ref"] == "hello-base@1"
            made_by = client.governance.lineage("hello@1").up.nodes
            assert first.id in {node.id for node in made_by}

            again = client.runs.wait(client.runs.start("hello").id, timeout=120)
            assert not again.changed, again
            assert again.step("judge/kind-quality").state == "unchanged"

            rollout = {"strategy": "canary", "steps": [{"weight": 50}, {"weight": 100}]}
            client.pipelines.apply(loop("Answer with HUM, LOC or NUM, please.", rollout=rollout), folder=tmp_path)
            second = approved(client, approver, client.runs.start("hello"))
            assert second.step("baseline/kind-quality").outputs["ref"] == "hello@1"
            assert second.step("rollout/prod").state == "succeeded"
            live = client.deployments.list(environment="prod", active=True).items
            assert [d.release for d in live if d.state == "live"] == ["hello@2"]
            approver.close()
    finally:
        server.stop()
