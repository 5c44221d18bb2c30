"""The whole way with a tiny model: base -> adapter -> merged -> GGUF -> served, proved and registered."""

from pathlib import Path
from typing import Any

import pytest

from tests.tuning.conftest import Bench, submission
from tidemill.core import lineage
from tidemill.core.jobs.sdk import Jobs
from tidemill.core.jobs.types import JobFailed
from tidemill.tuning.chain import Chain

pytestmark = [pytest.mark.tune, pytest.mark.engine, pytest.mark.slow]

HOPS = ["trainer", "adapter", "merged", "gguf:f16", "gguf:q8_0", "served:q8_0"]


def test_every_hop_is_proved_registered_and_a_broken_one_is_named(
    bench: Bench, tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.dataset(tmp_path)
    prompt = bench.prompts.create("pets", messages=[{"role": "system", "content": "Name the pet."}])
    asked = submission(prompt="pets@1", then=["gguf:q8_0"], key="once")
    run = bench.tuning.run(asked)
    assert bench.tuning.run(asked).id == run.id, "the same key is the same run"
    run = bench.tuning.wait(run.id, timeout=240)

    assert run.parity is not None
    assert run.parity.passed, run.parity
    hops = {hop.name: hop for hop in run.parity.hops}
    assert list(hops) == HOPS
    assert hops["trainer"].quality is not None
    assert hops["trainer"].quality > 0.3, "the tiny model learns to answer in the form that is taught"
    for name in ("adapter", "merged", "served:q8_0"):
        assert hops[name].prompts_equal == hops[name].n == 48, "training and serving cut prompts into the same tokens"
    assert hops["adapter"].same == 48, "a reloaded adapter answers exactly as the trainer did"

    made = {output.kind: output for output in run.outputs}
    assert {kind for kind, output in made.items() if output.servable} == {"gguf:q8_0"}
    newest = bench.models.get(run.name)
    assert newest.id == made["gguf:q8_0"].version_id, "the form named first is what the bare name means"
    assert newest.chat_template_hash == bench.models.get("tiny").chat_template_hash
    with bench.kernel.db.read() as conn:
        up = lineage.walk(conn, newest.id, "up")
    assert up is not None
    known = {node.id for node in up.nodes}
    assert {run.id, run.dataset_version_id, run.base_version_id, prompt.id} <= known

    books = bench.tuning.steps(run.id, limit=5000)
    assert [r.step for r in books.items] == list(range(1, 61))
    assert books.items[-1].loss < books.items[0].loss
    assert bench.models.get("tiny").kind == "base"
    assert bench.models.get("tiny-safetensors").parents[0].id == run.base_version_id

    folder = bench.kernel.settings.home / "tuning" / run.id
    assert not [path for path in folder.iterdir() if path.is_dir() or path.suffix == ".gguf"]

    # Now a faulty converter loses the tuning: what is made of its file must not be servable.
    right = Chain._tasks

    def faulty(self: Chain, wanted: list[str]) -> list[dict[str, Any]]:
        return [t | {"source": str(tiny)} if t["do"] == "convert" else t for t in right(self, wanted)]

    monkeypatch.setattr(Chain, "_tasks", faulty)
    job = bench.tuning.compress(made["adapter"].version_id, ["gguf:q4_0"])
    with pytest.raises(JobFailed) as failed:
        Jobs(bench.http).wait(job.id, timeout=240)
    assert (failed.value.details or {})["error"]["code"] == "parity_failed"
    assert (failed.value.details or {})["error"]["details"]["hop"] == "gguf:f16"
    run = bench.tuning.get(run.id)
    assert run.state == "succeeded"
    made = {output.kind: output for output in run.outputs}
    assert made["gguf:q8_0"].servable
    assert not made["gguf:q4_0"].servable
    proof = bench.models.evidence(made["gguf:q4_0"].version_id)[0]
    assert (proof.passed, proof.hop) == (False, "gguf:f16")
