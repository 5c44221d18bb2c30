"""What is refused before anything starts, and runs in the store, on both databases."""

from pathlib import Path

import pytest

from tests.tuning.conftest import Bench, submission
from tidemill.core.kernel import Context
from tidemill.core.wire import new_id
from tidemill.data.types import DatasetNotFound
from tidemill.jobs.types import JobFailed
from tidemill.prompts.types import PromptNotFound
from tidemill.registry.types import ModelNotFound
from tidemill.tuning import service, store
from tidemill.tuning.types import (
    DatasetSchemaUnfit,
    NoTrainingRows,
    Output,
    RunNotResumable,
    StepRecord,
    Training,
    TuningRun,
    TuningRunNotFound,
    TuningSpec,
)


def record(step: int, loss: float = 1.0) -> StepRecord:
    return StepRecord(
        step=step, loss=loss, learning_rate=0.1, grad_norm=1, tokens=5, seconds=1, tokens_per_s=5, eta_s=1
    )


def insert(ctx: Context, key: str | None = None) -> TuningRun:
    run = TuningRun(
        id=new_id("tr"),
        name="pets",
        state="queued",
        spec=TuningSpec(model="tiny", dataset="pets"),
        base_version_id="mv_1",
        dataset_version_id="dsv_1",
        prompt_version_id=None,
        job_id=new_id("job"),
        estimate=None,
        last_step=None,
        total_steps=None,
        summary=None,
        outputs=[],
        parity=None,
        error=None,
        created_at=ctx.now,
        created_by="owner",
        finished_at=None,
    )
    store.insert(ctx.conn, run, key)
    return run


def test_a_run_and_its_steps_are_kept(ctx: Context) -> None:
    run = insert(ctx, "k")
    assert store.get(ctx.conn, run.id) == run
    assert store.by_key(ctx.conn, "k") == run
    store.add_steps(ctx.conn, run.id, [record(1), record(2)])
    store.add_steps(ctx.conn, run.id, [record(2, 9.0), record(3)])
    entered = store.step_page(ctx.conn, run.id, 0, 100)
    assert [(r.step, r.loss) for r in entered] == [(1, 1.0), (2, 1.0), (3, 1.0)], "no step is entered twice"
    output = Output(kind="adapter", version_id="mv_9", ref="pets@1", servable=False)
    store.put_output(ctx.conn, run.id, output)
    store.put_output(ctx.conn, run.id, output.model_copy(update={"servable": True}))
    run_of_output = store.by_output(ctx.conn, "mv_9")
    assert run_of_output is not None
    assert (run_of_output.last_step, [o.servable for o in run_of_output.outputs]) == (record(3), [True])
    assert store.list_runs(ctx.conn, state="failed", before=None, limit=9) == []
    assert [r.id for r in store.list_runs(ctx.conn, state="queued", before=None, limit=9)] == [run.id]


def test_only_an_ended_run_goes_on(ctx: Context) -> None:
    run = insert(ctx)
    with pytest.raises(RunNotResumable, match="queued"):
        service.resume(ctx, run.id)
    with pytest.raises(TuningRunNotFound, match="tr_none"):
        service.get(ctx, "tr_none")


@pytest.mark.tune
def test_what_does_not_exist_or_does_not_fit_is_refused_at_once(bench: Bench, tmp_path: Path) -> None:
    version = bench.dataset(tmp_path)
    with pytest.raises(ModelNotFound):
        bench.tuning.run(submission(model="tny"))
    with pytest.raises(DatasetNotFound):
        bench.tuning.run(submission(dataset="pts"))
    with pytest.raises(PromptNotFound):
        bench.tuning.run(submission(prompt="hello@1"))
    with pytest.raises(NoTrainingRows, match="train \\(96\\), validation \\(64\\)"):
        bench.tuning.run(submission(eval_split="test"))
    (tmp_path / "notes.jsonl").write_text('{"text": "Some prose about windmills and tides."}\n')
    bench.data.import_(tmp_path / "notes.jsonl", name="notes", row_schema="text")
    with pytest.raises(DatasetSchemaUnfit, match=r"'text'.*classification"):
        bench.tuning.run(submission(dataset="notes"))
    assert bench.tuning.list().items == []
    assert version.rows == 160


@pytest.mark.tune
def test_a_run_that_would_not_fit_ends_before_it_trains(bench: Bench, tmp_path: Path) -> None:
    bench.dataset(tmp_path)
    greedy = Training(batch_size=50_000_000, micro_batch_tokens=10**12, max_steps=1)
    run = bench.tuning.run(submission(training=greedy))
    with pytest.raises(JobFailed) as failed:
        bench.tuning.wait(run.id, timeout=120)
    assert (failed.value.details or {})["error"]["code"] == "not_enough_memory"
    run = bench.tuning.get(run.id)
    assert (run.state, run.last_step) == ("failed", None)
    assert run.error is not None
    assert "micro_batch_tokens" in run.error["hint"]
    assert not (bench.kernel.settings.home / "tuning" / run.id / "spec.json").exists(), "the trainer never started"
