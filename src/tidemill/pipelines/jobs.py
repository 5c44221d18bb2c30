"""The durable job that carries out a run: step after step, each once.

What is done stands in the rows of the run's steps, written when the run began, and not in the order of calls in this
function. So a run goes on after a crash, and after an upgrade whose code would do other steps.
"""

from typing import Any

from tidemill.core import events
from tidemill.core.errors import TidemillError
from tidemill.core.kernel import Context
from tidemill.core.wire import content_hash, utc_now
from tidemill.jobs.context import JobContext
from tidemill.jobs.kinds import JobKind
from tidemill.jobs.service import JobQueue
from tidemill.jobs.types import ENDED, Job
from tidemill.pipelines import store
from tidemill.pipelines.step_registry import KINDS
from tidemill.pipelines.steps.context import CacheInputs, StepContext, StepResult
from tidemill.pipelines.steps.deploy import cancel_step
from tidemill.pipelines.types import STEP_DONE, PipelineSpec, Run, RunState, RunStep, StepFailed, StepState
from tidemill.triggers import service as triggers
from tidemill.triggers.types import FiringNotFound, FiringSettle

RUN_JOB = "pipelines.run"

_STATE_OF_ERROR: dict[str, RunState] = {
    "gate_refused": "refused",
    "approval_rejected": "rejected",
    "rolled_back": "rolled_back",
}
"""Errors that are an answer rather than an accident."""


def run_pipeline(job: JobContext, args: dict[str, Any]) -> dict[str, Any]:
    """Do every step of a run that is not done yet."""
    run_id = args["run_id"]
    with job.write() as ctx:
        run, spec, _ = _read(ctx, run_id)
        started = {"started_at": ctx.now} if run.started_at is None else {}
        store.update_run(ctx.conn, run_id, state="running", summary="", error=None, finished_at=None, **started)
    while True:
        job.check_cancelled()
        with job.kernel.read(job.actor) as ctx:
            run, spec, steps = _read(ctx, run_id)
        step = next((s for s in steps if not s.done), None)
        if step is None:
            break
        job.progress(sum(s.done for s in steps), len(steps), step.name, unit="steps")
        _run_step(StepContext(spec, step.name, _step_outputs(steps), run.pipeline_id, job, run, step))
    return {"run_id": run_id, "changed": _has_changed(steps)}


def _read(ctx: Context, run_id: str) -> tuple[Run, PipelineSpec, list[RunStep]]:
    run = store.run_by_id(ctx.conn, run_id)
    assert run is not None
    applied = store.pipeline_by(ctx.conn, run.pipeline, run.version)
    assert applied is not None
    return run, applied.spec, store.list_steps(ctx.conn, run_id)


def _step_outputs(steps: list[RunStep]) -> dict[str, dict[str, Any]]:
    return {s.name: s.outputs for s in steps if s.done}


def _has_changed(steps: list[RunStep]) -> bool:
    return any(s.state == "succeeded" for s in steps)


def _run_step(context: StepContext) -> None:
    """Run one step, or take the outputs of an earlier step with the same inputs."""
    step = context.row
    kind = KINDS.get(step.kind)
    if kind is None:
        raise StepFailed(
            f"This version of Tidemill knows no step of the kind {step.kind!r}.",
            hint=f"Skip it, or start a new run: tidemill runs skip {context.run_ref} {step.name} --reason …",
        )
    with context.job_context.write() as ctx:
        now = store.step_by_id(ctx.conn, step.id)
        if now.done:  # skipped while we looked away
            return
        started = {} if now.started_at is not None else {"started_at": ctx.now}
        store.update_step(ctx.conn, step.id, state="running", error=None, finished_at=None, **started)
    with context.job_context.write() as ctx:
        key = key_of(step.kind, kind.inputs(ctx, context))
        store.update_step(ctx.conn, step.id, key=key)
        assert context.run is not None
        use_cache = not context.run.fresh and step.attempt == 1 and now.job_id is None
        cached = store.find_cached_step(ctx.conn, step.kind, key) if key is not None and use_cache else None
        if cached is not None:
            before, ref = cached
            _close(ctx, step, "cached", StepResult(before.outputs, before.note), cached_from=ref)
            return
    outcome = kind.run(context)
    with context.job_context.write() as ctx:
        _close(ctx, step, "unchanged" if outcome.unchanged else "succeeded", outcome)
        if step.kind == "release":
            store.update_run(ctx.conn, step.run_id, release=outcome.outputs["ref"])


def key_of(kind: str, reads: CacheInputs) -> str | None:
    """Return the cache key of a step: the hash of its inputs."""
    return content_hash({"kind": kind, "reads": reads}) if reads is not None else None


def _close(ctx: Context, step: RunStep, state: StepState, outcome: StepResult, cached_from: str | None = None) -> None:
    store.update_step(
        ctx.conn,
        step.id,
        state=state,
        outputs=outcome.outputs,
        note=outcome.note,
        cached_from=cached_from,
        progress=None,
        finished_at=ctx.now,
    )
    if step.kind == "release" and state == "cached":
        store.update_run(ctx.conn, step.run_id, release=outcome.outputs["ref"])


def ended(ctx: Context, job: Job) -> None:
    """Close the run in the transaction that ends its job; end the jobs that it waited for."""
    run = store.run_by_job(ctx.conn, job.id)
    if run is None:
        return
    steps = store.list_steps(ctx.conn, run.id)
    state: RunState = "succeeded"
    if job.state == "cancelled":
        state = "cancelled"
    elif job.error is not None:
        state = _STATE_OF_ERROR.get(str(job.error.code), "failed")
    open_step = next((s for s in steps if s.state not in STEP_DONE), None)
    cancelled_text = _cancel_open_step(ctx, run, open_step) if state == "cancelled" and open_step is not None else None
    if open_step is not None and state != "succeeded":
        _end_step(ctx, open_step, job, "cancelled" if state == "cancelled" else "failed")
    store.update_run(
        ctx.conn,
        run.id,
        state=state,
        summary=" ".join(text for text in (summary(state, steps, job), cancelled_text) if text),
        changed=_has_changed(steps),
        error=job.error.model_dump(mode="json") if job.error is not None else None,
        finished_at=utc_now(),
    )
    _settle(ctx, run, steps)
    facts = {"pipeline": run.pipeline, "run": run.ref, "release": run.release, "verdict": run.verdict}
    events.emit(ctx, f"pipeline_run.{state}", run.id, facts)


def _cancel_open_step(ctx: Context, run: Run, step: RunStep) -> str | None:
    """End what the open step has deployed or rolled out, when its run is cancelled; return a text about it."""
    try:
        with ctx.conn.begin_nested():
            return cancel_step(ctx, step, f"{run.ref}, which began it, was cancelled.")
    except TidemillError as error:  # the run ends all the same, and says what is left
        events.emit(ctx, "pipeline_run.not_called_off", run.id, {"run": run.ref, "error": error.message})
        return f"What {step.name} has begun goes on: {error.message}"


def _settle(ctx: Context, run: Run, steps: list[RunStep]) -> None:
    """Put the run's minutes to the trigger that started it; waiting for a person costs nothing."""
    billed_steps = [s for s in steps if s.kind != "approve" and s.started_at is not None]
    seconds = sum(((s.finished_at or ctx.now) - s.started_at).total_seconds() for s in billed_steps if s.started_at)
    for cause in run.causes:
        if cause.firing_id is None:
            continue
        minutes = 0.0 if cause.joined else max(0.0, seconds / 60)
        try:
            triggers.settle_firing(ctx, cause.firing_id, FiringSettle(run_id=run.id, minutes=minutes))
        except FiringNotFound as error:
            events.emit(ctx, "pipeline_run.not_settled", run.id, {"firing": cause.firing_id, "error": error.message})


def _end_step(ctx: Context, step: RunStep, job: Job, state: StepState) -> None:
    error = job.error.model_dump(mode="json") if job.error is not None else None
    store.update_step(ctx.conn, step.id, state=state, error=error, progress=None, finished_at=utc_now())
    if step.job_id is None:
        return
    try:
        child = ctx.kernel.get(JobQueue).get(ctx, step.job_id)
        if child.state not in ENDED:
            ctx.kernel.get(JobQueue).cancel(ctx, step.job_id)
    except TidemillError as error_of_child:
        events.emit(ctx, "pipeline_run.child_left", step.run_id, {"job": step.job_id, "error": str(error_of_child)})


def summary(state: RunState, steps: list[RunStep], job: Job) -> str:
    """Return how a run ended, in one line."""
    if job.error is not None:
        return job.error.message
    if state == "cancelled":
        return "Cancelled."
    done = sum(s.state == "succeeded" for s in steps)
    if done == 0:
        return f"Nothing has changed: none of the {len(steps)} steps had anything to do."
    reused = sum(s.state in ("cached", "unchanged") for s in steps)
    skipped = sum(s.state == "skipped" for s in steps)
    parts = [f"{done} steps done", f"{reused} as before" if reused else "", f"{skipped} skipped" if skipped else ""]
    return ", ".join(p for p in parts if p) + "."


RUN = JobKind(run=run_pipeline, ended=ended)
