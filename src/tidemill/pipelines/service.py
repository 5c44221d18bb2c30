"""Deciding about pipelines: when a run starts, and what may be done with it. `apply.py` has the documents."""

from collections.abc import Iterator
from typing import Any

from tidemill.core import events
from tidemill.core.errors import TidemillError, nearest
from tidemill.core.event_types import Event
from tidemill.core.kernel import Context
from tidemill.core.parsing import parse_number
from tidemill.core.web import page
from tidemill.core.wire import Page, new_id
from tidemill.jobs.service import JobQueue
from tidemill.pipelines import step_registry, store
from tidemill.pipelines.apply import apply, get, get_any, list_names, list_pipelines, plan, remove, spec_hash
from tidemill.pipelines.jobs import RUN_JOB
from tidemill.pipelines.steps.deploy import APPROVAL_TOPIC
from tidemill.pipelines.types import (
    RUN_ENDED,
    Cause,
    Pipeline,
    PipelineBusy,
    PipelineSpec,
    Run,
    RunDetail,
    RunEnded,
    RunNotFound,
    RunNotRetryable,
    RunRetry,
    RunStart,
    RunState,
    RunStep,
    StepNotFound,
    StepNotSkippable,
    StepSkip,
)

# ---------------------------------------------------------------------- runs


def start(ctx: Context, body: RunStart) -> RunDetail:
    """Start a run. While a run of the same document is on its way, that run is the answer.

    Raises PipelineBusy when the run on its way follows an earlier document.
    """
    pipeline = get(ctx, body.pipeline)
    cause = Cause(kind="person", by=ctx.actor.name, at=ctx.now, joined=False, note=body.note)
    return _start(ctx, pipeline, cause, fresh=body.fresh)


def _start(ctx: Context, pipeline: Pipeline, cause: Cause, *, fresh: bool = False) -> RunDetail:
    store.advisory_lock(ctx.conn, f"pipeline {pipeline.name}")
    active = store.active_run(ctx.conn, pipeline.id)
    if active is not None:
        return _join(ctx, pipeline, active, cause)
    before = store.newest_run(ctx.conn, pipeline.id)
    run_id = new_id("plr")
    job = ctx.kernel.get(JobQueue).submit(ctx, RUN_JOB, {"run_id": run_id}, subject=run_id)
    run = Run(
        id=run_id,
        pipeline_id=pipeline.id,
        pipeline=pipeline.name,
        number=before.number + 1 if before is not None else 1,
        version=pipeline.number,
        state="queued",
        summary="",
        fresh=fresh,
        verdict=None,
        release=None,
        changed=False,
        causes=[cause],
        job_id=job.id,
        error=None,
        created_at=ctx.now,
        created_by=ctx.actor.name,
        started_at=None,
        finished_at=None,
    )
    store.insert_run(ctx.conn, run, list(_steps(run, pipeline.spec)))
    events.emit(ctx, "pipeline_run.started", run.id, {"run": run.ref, "version": run.version, "by": cause.by})
    return _detail(ctx, run)


def _steps(run: Run, spec: PipelineSpec) -> Iterator[RunStep]:
    for position, name in enumerate(step_registry.names(spec), 1):
        yield RunStep(
            id=new_id("pls"),
            run_id=run.id,
            position=position,
            name=name,
            kind=step_registry.kind_of(name),
            state="pending",
            note="",
            key=None,
            outputs={},
            cached_from=None,
            job_id=None,
            attempt=1,
            progress=None,
            error=None,
            skipped_by=None,
            started_at=None,
            finished_at=None,
        )


def _join(ctx: Context, pipeline: Pipeline, active: Run, cause: Cause) -> RunDetail:
    if cause.kind == "person" and active.version != pipeline.number:
        raise PipelineBusy(
            f"{active.ref} follows {pipeline.name}@{active.version} and goes on; {pipeline.ref} was applied since.",
            hint=f"Wait for it, or end it: tidemill runs cancel {active.ref}",
            details={"run": active.id},
        )
    joined = active.model_copy(update={"causes": [*active.causes, cause.model_copy(update={"joined": True})]})
    store.set_causes(ctx.conn, joined)
    events.emit(ctx, "pipeline_run.joined", active.id, {"run": active.ref, "by": cause.by, "kind": cause.kind})
    return _detail(ctx, joined)


def get_run(ctx: Context, ref: str) -> RunDetail:
    """Return one run with its steps:

    `plr_…`, `name#3`, or `name` for its newest. Raises RunNotFound, PipelineNotFound.
    """
    return _detail(ctx, _run(ctx, ref))


def _run(ctx: Context, ref: str) -> Run:
    name, _, number = ref.partition("#")
    if ref.startswith("plr_"):
        run = store.run_by_id(ctx.conn, ref)
    elif number:
        run_number = parse_number(number)
        run = store.run_by_number(ctx.conn, name, run_number) if run_number is not None else None
    else:
        run = store.newest_run(ctx.conn, get_any(ctx, name).id)
    if run is None:
        raise RunNotFound(f"There is no run {ref!r}.", hint="`tidemill runs list` shows all; write name#3 or an id.")
    return run


def _detail(ctx: Context, run: Run) -> RunDetail:
    return RunDetail.model_validate(run.model_dump() | {"steps": store.list_steps(ctx.conn, run.id)})


def list_runs(
    ctx: Context, *, pipeline: str | None = None, state: RunState | None = None, cursor: str | None, limit: int
) -> Page[Run]:
    """Return a page of runs, newest first."""
    if pipeline is not None:
        get_any(ctx, pipeline)
    runs = store.list_runs(ctx.conn, pipeline=pipeline, state=state, before=cursor, limit=limit + 1)
    return page(runs, limit)


def cancel(ctx: Context, ref: str) -> RunDetail:
    """End a run, the job it waits for and the rollout it has begun. Raises RunEnded."""
    run = _run(ctx, ref)
    if run.state in RUN_ENDED:
        raise RunEnded(f"{run.ref} has already ended: {run.state}.")
    ctx.kernel.get(JobQueue).cancel(ctx, run.job_id)
    return get_run(ctx, run.id)


def skip(ctx: Context, ref: str, body: StepSkip) -> RunDetail:
    """Leave out a step that has not begun or has failed. Raises StepNotSkippable, StepNotFound.

    A skipped step gives nothing: what needs its result fails, and an environment that asks for an approval or a
    gate still asks for it.
    """
    run = _run(ctx, ref)
    if run.state == "succeeded":
        raise RunEnded(f"{run.ref} has already ended: {run.state}.")
    step = _step(ctx, run, body.step)
    if step.state not in ("pending", "failed", "cancelled"):
        raise StepNotSkippable(
            f"{step.name} of {run.ref} is {step.state}.",
            hint=f"Only a step that has not begun, or has failed, can be skipped; or: tidemill runs cancel {run.ref}",
        )
    store.update_step(
        ctx.conn, step.id, state="skipped", note=body.reason, skipped_by=ctx.actor.name, finished_at=ctx.now, error=None
    )
    facts = {"run": run.ref, "step": step.name, "reason": body.reason}
    events.emit(ctx, "pipeline_run.step_skipped", run.id, facts)
    return get_run(ctx, run.id)


def _step(ctx: Context, run: Run, name: str) -> RunStep:
    steps = store.list_steps(ctx.conn, run.id)
    step = next((s for s in steps if s.name == name), None)
    if step is None:
        near = nearest(name, [s.name for s in steps])
        names = ", ".join(s.name for s in steps)
        raise StepNotFound(
            f"{run.ref} has no step {name!r}.", hint=f"Did you mean {near[0]}?" if near else f"It has {names}."
        )
    return step


def retry(ctx: Context, ref: str, body: RunRetry) -> RunDetail:
    """Let a run that did not succeed go on from its failed step, or from `step` on. Raises RunNotRetryable."""
    run = _run(ctx, ref)
    if run.state not in RUN_ENDED or run.state == "succeeded":
        raise RunNotRetryable(
            f"{run.ref} is {run.state}.",
            hint="A run on its way goes on by itself."
            if run.state not in RUN_ENDED
            else "Start a new run: tidemill run",
        )
    get(ctx, run.pipeline)
    active = store.active_run(ctx.conn, run.pipeline_id)
    if active is not None:
        raise PipelineBusy(f"{active.ref} is on its way.", hint=f"Wait for it, or: tidemill runs cancel {active.ref}")
    ctx.kernel.get(JobQueue).retry(ctx, run.job_id)
    first = _step(ctx, run, body.step) if body.step is not None else None
    for step in store.list_steps(ctx.conn, run.id):
        if first is not None and step.position >= first.position:
            _reset_step(ctx, step)
        elif step.state in ("failed", "cancelled"):
            _resume_step(ctx, step)
    store.update_run(ctx.conn, run.id, state="queued", summary="", error=None, verdict=None, finished_at=None)
    events.emit(ctx, "pipeline_run.retried", run.id, {"run": run.ref, "step": body.step})
    return get_run(ctx, run.id)


_CLEARED: dict[str, Any] = {
    "state": "pending",
    "error": None,
    "progress": None,
    "finished_at": None,
    "cached_from": None,
    "skipped_by": None,
    "note": "",
}


def _reset_step(ctx: Context, step: RunStep) -> None:
    store.update_step(
        ctx.conn, step.id, **_CLEARED, job_id=None, key=None, outputs={}, started_at=None, attempt=step.attempt + 1
    )


def _resume_step(ctx: Context, step: RunStep) -> None:
    """Resume a failed step with its own job where that one failed; without a job it runs again."""
    store.update_step(ctx.conn, step.id, **_CLEARED, attempt=step.attempt + 1)
    if step.job_id is None:
        return
    job = ctx.kernel.get(JobQueue).get(ctx, step.job_id)
    if job.state in ("failed", "cancelled"):
        resume = step_registry.KINDS[step.kind].resume
        if resume is not None:
            resume(ctx, job)
        else:
            ctx.kernel.get(JobQueue).retry(ctx, job.id)


# ---------------------------------------------------------------------- facts of other features


def approval_decided(ctx: Context, event: Event) -> None:
    """Listener of approvals: wake the runs that wait for a person."""
    for run in store.list_waiting_runs(ctx.conn):
        _signal_approval(ctx, run)


def _signal_approval(ctx: Context, run: Run) -> None:
    try:
        ctx.kernel.get(JobQueue).signal(ctx, run.job_id, APPROVAL_TOPIC)
    except TidemillError as error:  # it ended in this very moment: then it needs no nudge
        events.emit(ctx, "pipeline_run.not_reached", run.id, {"run": run.ref, "error": error.message})


def trigger_fired(ctx: Context, event: Event) -> None:
    """Listener of `trigger.fired`: start a run, or add the cause to the run that is active."""
    name = str(event.data.get("pipeline") or "")
    pipeline = store.pipeline_by(ctx.conn, name)
    if pipeline is None or pipeline.removed_at is not None:
        events.emit(ctx, "pipeline_run.refused", event.subject, {"pipeline": name, "reason": "no such pipeline"})
        return
    cause = Cause(
        kind="trigger",
        by=str(event.data.get("trigger") or event.subject),
        at=ctx.now,
        joined=False,
        reasons=[str(reason) for reason in event.data.get("reasons") or []],
        firing_id=str(event.data["firing_id"]) if event.data.get("firing_id") else None,
        event_id=event.id,
    )
    _start(ctx, pipeline, cause)


LISTENERS = {
    "trigger.fired": [trigger_fired],
    "approval.approved": [approval_decided],
    "approval.rejected": [approval_decided],
    "approval.withdrawn": [approval_decided],
}
"""Facts that move pipelines."""

__all__ = [
    "LISTENERS",
    "apply",
    "approval_decided",
    "cancel",
    "get",
    "get_run",
    "list_names",
    "list_pipelines",
    "list_runs",
    "plan",
    "remove",
    "retry",
    "skip",
    "spec_hash",
    "start",
    "trigger_fired",
]
