"""Decide about tuning: whether a run may start, its state, and its outputs."""

import importlib.util
from datetime import datetime
from typing import Any

from tidemill.core import events, lineage
from tidemill.core.kernel import Context
from tidemill.core.web import page
from tidemill.core.wire import Page, new_id
from tidemill.data import service as data
from tidemill.jobs.service import JobQueue
from tidemill.jobs.types import Job
from tidemill.prompts import service as prompts
from tidemill.registry import service as registry
from tidemill.registry.types import ModelVersion
from tidemill.tuning import answer_template, examples, intermediates, store
from tidemill.tuning.types import (
    CompressSubmit,
    NoTrainingRows,
    RunNotResumable,
    StepPage,
    TuneExtraMissing,
    TuneSubmit,
    TuningRun,
    TuningRunNotFound,
    TuningSpec,
    UnsupportedModel,
)

RUN_JOB, COMPRESS_JOB = "tuning.run", "tuning.compress"


def submit(ctx: Context, body: TuneSubmit) -> TuningRun:
    """Ask for a run. Whatever can be known to be wrong is refused here, before anything starts.

    Raises AnswerTemplateInvalid, DatasetSchemaUnfit, NoTrainingRows, UnsupportedModel, TuneExtraMissing, and what the
    other features raise for a model, a dataset or a prompt that does not exist.
    """
    if body.key is not None:
        store.lock(ctx.conn, f"tuning run {body.key}")
    if body.key is not None and (first := store.by_key(ctx.conn, body.key)) is not None:
        return first
    if body.answer_template is not None:
        answer_template.check(body.answer_template)
    _check_extra()
    base = registry.get_version(ctx, body.model)
    _check_base(base)
    dataset = data.get_version(ctx, body.dataset)
    examples.check_schema(dataset.row_schema, examples.NEEDED.get(dataset.row_schema, ()), dataset=dataset.ref)
    rows = {split.name: split.rows for split in dataset.splits}
    for split in (body.train_split, body.eval_split):
        if not rows.get(split):
            raise NoTrainingRows(
                f"{dataset.ref} has no rows in the split {split!r}; it has {_format_counts(rows)}.",
                hint="Choose others with train_split and eval_split, or import the data with a split.",
                param="train_split" if split == body.train_split else "eval_split",
            )
    prompt = prompts.render(ctx, body.prompt, {}).version if body.prompt is not None else None
    spec = TuningSpec.model_validate(
        body.model_dump(exclude={"key"}) | {"name": body.name or f"{base.model}-{dataset.dataset}"[:63]}
    )
    run_id = new_id("tr")
    job = ctx.kernel.get(JobQueue).submit(ctx, RUN_JOB, {"run_id": run_id}, subject=run_id)
    assert spec.name is not None
    run = TuningRun(
        id=run_id,
        name=spec.name,
        state="queued",
        spec=spec,
        base_version_id=base.id,
        dataset_version_id=dataset.id,
        prompt_version_id=prompt.id if prompt is not None else None,
        job_id=job.id,
        estimate=None,
        last_step=None,
        total_steps=None,
        summary=None,
        outputs=[],
        parity=None,
        error=None,
        created_at=ctx.now,
        created_by=ctx.actor.name,
        finished_at=None,
    )
    store.insert(ctx.conn, run, body.key)
    parents = [(base.id, "tuned_from"), (dataset.id, "trained_on")]
    parents += [(prompt.id, "trained_with")] if prompt is not None else []
    facts = {"method": spec.method, "seed": spec.training.seed}
    lineage.record(ctx, lineage.LineageNode(id=run.id, kind="tuning_run", label=run.name, facts=facts), parents)
    events.emit(ctx, "tuning.submitted", run.id, {"model": base.ref, "dataset": dataset.ref, "name": run.name})
    return run


def _format_counts(rows: dict[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in rows.items()) or "none"


def _check_extra() -> None:
    missing = [
        name for name in ("torch", "transformers", "peft", "safetensors") if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise TuneExtraMissing(
            f"The package {missing[0]} is not installed.", hint="Install it with: pip install 'tidemill[tune]'."
        )


def _check_base(base: ModelVersion) -> None:
    if base.format == "peft":
        raise UnsupportedModel(
            f"{base.ref} is an adapter.", hint="Tune the model it was merged into, or its base.", param="model"
        )
    if base.facts.architecture not in (None, "llama", "LlamaForCausalLM"):
        raise UnsupportedModel(
            f"{base.ref} is a {base.facts.architecture} model.",
            hint="Tuning knows the llama architecture so far.",
            param="model",
        )


def get(ctx: Context, run_id: str) -> TuningRun:
    """Return the tuning run of an id. Raises TuningRunNotFound."""
    run = store.get(ctx.conn, run_id)
    if run is None:
        raise TuningRunNotFound(f"There is no tuning run {run_id!r}.", hint="`tidemill tune list` shows all.")
    return run


def list_runs(ctx: Context, *, state: str | None, cursor: str | None, limit: int) -> Page[TuningRun]:
    """Return a page of tuning runs, newest first; those in one state with `state`."""
    return page(store.list_runs(ctx.conn, state=state, before=cursor, limit=limit + 1), limit)


def steps(ctx: Context, run_id: str, *, after: int, limit: int) -> StepPage:
    """Return the records of the step log after step `after`. Raises TuningRunNotFound."""
    run = get(ctx, run_id)
    return StepPage(items=store.step_page(ctx.conn, run_id, after, limit), total_steps=run.total_steps)


def cancel(ctx: Context, run_id: str) -> TuningRun:
    """Ask for the end of a run; its checkpoints stay. Raises JobEnded."""
    run = get(ctx, run_id)
    ctx.kernel.get(JobQueue).cancel(ctx, run.job_id)
    return get(ctx, run_id)


def resume(ctx: Context, run_id: str) -> TuningRun:
    """Let a failed or cancelled run go on from its newest checkpoint. Raises RunNotResumable."""
    run = get(ctx, run_id)
    if run.state not in ("failed", "cancelled"):
        raise RunNotResumable(f"The run {run_id} is {run.state}.", hint="Only a failed or cancelled run can go on.")
    ctx.kernel.get(JobQueue).retry(ctx, run.job_id)
    store.update(ctx.conn, run_id, state="queued", error=None, finished_at=None)
    events.emit(ctx, "tuning.resumed", run_id, {})
    return get(ctx, run_id)


def compress(ctx: Context, body: CompressSubmit) -> Job:
    """Ask for smaller files of a version that a tuning run made."""
    version = registry.get_version(ctx, body.version)
    run = get_run_of_version(ctx, version)
    args: dict[str, Any] = {"run_id": run.id, "to": list(dict.fromkeys(body.to))}
    if body.few_rows is not None:
        args["few_rows"] = body.few_rows
    return ctx.kernel.get(JobQueue).submit(ctx, COMPRESS_JOB, args, subject=run.id, key=body.key)


def get_run_of_version(ctx: Context, version: ModelVersion) -> TuningRun:
    """Return the run that made a version. Raises UnsupportedModel for one that came from elsewhere."""
    run = store.by_output(ctx.conn, version.id)
    if run is None:
        raise UnsupportedModel(
            f"{version.ref} was not made by a tuning run, so there is no trainer to compare with.",
            hint="Name an adapter, tuned or merged version of `tidemill tune list`.",
            param="version",
        )
    return run


def list_unneeded_f16(ctx: Context, ended_before: datetime) -> list[tuple[TuningRun, ModelVersion]]:
    """Return the runs that ended before a moment and the F16 files that they were not asked to keep."""
    return list(intermediates.list_f16(ctx, ended_before))


def remove_f16(ctx: Context, run_id: str) -> int:
    """Let a run's F16 file go, unless it was asked for, may be served, or something needs it. Return its bytes."""
    return intermediates.remove_f16(ctx, get(ctx, run_id))


def ended(ctx: Context, job: Job) -> None:
    """Called in the transaction that ends a run's job."""
    run = store.by_job(ctx.conn, job.id)
    if run is None:
        return
    error = job.error.model_dump(mode="json") if job.error is not None else None
    store.update(ctx.conn, run.id, state=job.state, error=error, finished_at=ctx.now)
    events.emit(ctx, f"tuning.{job.state}", run.id, {"error": error["code"] if error else None})
