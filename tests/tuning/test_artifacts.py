"""The whole way with a tiny model: base -> adapter -> merged -> GGUF -> served, proved and registered."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.tuning.conftest import Bench, open_bench, submission
from tidemill.core import lineage
from tidemill.core.actors import OWNER
from tidemill.jobs.sdk import Jobs
from tidemill.jobs.types import JobFailed
from tidemill.registry import service as registry
from tidemill.registry.types import ModelFilesRemoved
from tidemill.storage.service import finish_scheduled
from tidemill.tuning.artifacts import ArtifactBuilder
from tidemill.tuning.types import TuningRun

pytestmark = [pytest.mark.tune, pytest.mark.engine, pytest.mark.slow]

HOPS = ["trainer", "adapter", "merged", "gguf:f16", "gguf:q8_0", "served:q8_0"]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, tiny_gguf: Path) -> Iterator[Bench]:
    """One home for the tests of this module, where two heavy jobs may run at once."""
    yield from open_bench(tmp_path_factory.mktemp("artifacts") / "home", tiny_gguf, jobs_concurrency=2)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def faulty_converter(monkeypatch: pytest.MonkeyPatch, untuned: Path) -> None:
    """A converter that loses the tuning."""
    right = ArtifactBuilder._tasks

    def faulty(self: ArtifactBuilder, quantisations: list[str]) -> list[dict[str, Any]]:
        return [t | {"source": str(untuned)} if t["do"] == "convert" else t for t in right(self, quantisations)]

    monkeypatch.setattr(ArtifactBuilder, "_tasks", faulty)


def tuned(bench: Bench) -> TuningRun:
    """The run of the first test."""
    run = bench.tuning.list().items[0]
    assert run.state == "succeeded", "the first test of this module makes the run"
    return run


def test_a_broken_hop_is_named_and_a_resumed_run_proves_again(
    bench: Bench, tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.dataset(tmp_path)
    prompt = bench.prompts.create("pets", messages=[{"role": "system", "content": "Name the pet."}])
    body = submission(prompt="pets@1", then=["gguf:q8_0"], key="once")
    with monkeypatch.context() as broken:
        faulty_converter(broken, tiny)
        run = bench.tuning.run(body)
        assert bench.tuning.run(body).id == run.id, "the same key is the same run"
        with pytest.raises(JobFailed) as failed:
            bench.tuning.wait(run.id, timeout=240)
    assert (failed.value.details or {})["error"]["code"] == "parity_failed"
    assert (failed.value.details or {})["error"]["details"]["hop"] == "gguf:f16"
    run = bench.tuning.get(run.id)
    outputs = {output.kind: output for output in run.outputs}
    assert not outputs["gguf:q8_0"].servable
    lost = bench.models.evidence(outputs["gguf:q8_0"].version_id)[0]
    assert (lost.passed, lost.hop) == (False, "gguf:f16")

    bench.tuning.resume(run.id)
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

    outputs = {output.kind: output for output in run.outputs}
    assert {kind for kind, output in outputs.items() if output.servable} == {"gguf:q8_0"}
    newest = bench.models.get(run.name)
    assert newest.id == outputs["gguf:q8_0"].version_id, "the form named first is what the bare name means"
    assert newest.chat_template_hash == bench.models.get("tiny").chat_template_hash
    with bench.kernel.db.read() as conn:
        up = lineage.walk(conn, newest.id, "up")
    assert up is not None
    node_ids = {node.id for node in up.nodes}
    assert {run.id, run.dataset_version_id, run.base_version_id, prompt.id} <= node_ids
    assert lost.version_id not in node_ids, "what the faulty converter made is nobody's parent"

    steps = bench.tuning.steps(run.id, limit=5000)
    assert [r.step for r in steps.items] == list(range(1, 61)), "nothing was trained twice"
    assert steps.items[-1].loss < steps.items[0].loss
    assert bench.models.get("tiny").kind == "base"
    assert bench.models.get("tiny-safetensors").parents[0].id == run.base_version_id

    f16 = bench.models.get(outputs["gguf:f16"].version_id)
    assert f16.files_removed_at is not None, "it was not asked for, so it goes after the proof"
    assert f16.id in {parent.id for parent in newest.parents}, "and stays known"
    with pytest.raises(ModelFilesRemoved, match="tidemill tune compress"), bench.kernel.write(OWNER) as ctx:
        registry.require_files(ctx, f16)
    finish_scheduled(bench.kernel)
    assert not bench.kernel.blobs.exists(f16.files[0].hash)

    folder = bench.kernel.settings.home / "tuning" / run.id
    assert not [path for path in folder.iterdir() if path.is_dir() or path.suffix == ".gguf"]
    assert not (folder / "train.jsonl").exists(), "rows of people stay in the dataset alone"


def test_two_jobs_make_more_of_one_run_at_once(bench: Bench) -> None:
    run = tuned(bench)
    adapter = next(o.version_id for o in run.outputs if o.kind == "adapter")
    jobs = Jobs(bench.http)
    choices = {"gguf:q4_0": None, "gguf:q4_1": "accept"}
    job_ids = [bench.tuning.compress(adapter, [form], few_rows=choice).id for form, choice in choices.items()]
    wait_for(lambda: [jobs.get(job).state for job in job_ids] == ["running"] * 2)
    for job in job_ids:
        with suppress(JobFailed):  # so few bits may cost this tiny model too much: that is the proof's business
            jobs.wait(job, timeout=240)
        error = jobs.get(job).error
        assert error is None or error.code == "parity_failed", error
    run = bench.tuning.get(run.id)
    assert run.state == "succeeded"
    assert run.parity is not None
    assert {f"{at}:{form}" for at in ("gguf", "served") for form in ("q4_0", "q4_1")} | set(HOPS) == {
        hop.name for hop in run.parity.hops
    }
    outputs = {output.kind: output for output in run.outputs}
    assert outputs["gguf:q8_0"].servable
    for form in ("q4_0", "q4_1"):
        proof = bench.models.evidence(outputs[f"gguf:{form}"].version_id)[0]
        assert proof.passed == outputs[f"gguf:{form}"].servable
    # q4_1 may be served with hops that tell nothing, since that was accepted; not with one that fails.
    verdicts = {h.name: h.verdict for h in run.parity.hops}
    failing = "fail" in (verdicts["gguf:q4_1"], verdicts["served:q4_1"])
    assert outputs["gguf:q4_1"].servable == (not failing)
    folders = {path.name for path in (bench.kernel.settings.home / "tuning").iterdir()}
    assert folders == {run.id} | {job for job in job_ids if jobs.get(job).state == "failed"}


def test_an_f16_file_that_is_asked_for_comes_back_and_stays(bench: Bench) -> None:
    run = tuned(bench)
    adapter = next(o.version_id for o in run.outputs if o.kind == "adapter")
    job = bench.tuning.compress(adapter, ["gguf:f16"])
    Jobs(bench.http).wait(job.id, timeout=240)
    f16 = bench.models.get(next(o.version_id for o in bench.tuning.get(run.id).outputs if o.kind == "gguf:f16"))
    assert f16.servable
    assert f16.files_removed_at is None
    assert bench.kernel.blobs.exists(f16.files[0].hash)
    job = bench.tuning.compress(adapter, ["gguf:q8_0"])
    Jobs(bench.http).wait(job.id, timeout=240)
    assert bench.models.get(f16.id).files_removed_at is None, "it may be served, so another proof lets it be"
