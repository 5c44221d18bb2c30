"""Deciding about documents: what one changes, and what remains when a pipeline is removed."""

from tidemill.core import events
from tidemill.core.errors import nearest
from tidemill.core.kernel import Context
from tidemill.core.parsing import parse_number
from tidemill.core.wire import Page, content_hash, new_id
from tidemill.jobs.service import JobQueue
from tidemill.pipelines import plan as planner
from tidemill.pipelines import references, store, watches
from tidemill.pipelines.faults import to_error
from tidemill.pipelines.types import (
    Applied,
    Pipeline,
    PipelineApply,
    PipelineBusy,
    PipelineInvalid,
    PipelineNotFound,
    PipelineRemove,
    PipelineRemoved,
    PipelineSpec,
    Plan,
)
from tidemill.triggers import service as triggers


def plan(ctx: Context, body: PipelineApply) -> Plan:
    """Return what applying a document would change, and what the next run would do. Raises PipelineInvalid."""
    _check(ctx, body.spec)
    current = _find_active(ctx, body.spec.name)
    return Plan(
        name=body.spec.name,
        new=current is None,
        changes=planner.changes(current.spec if current is not None else None, body.spec),
        steps=planner.forecast(ctx, body.spec, current),
    )


def apply(ctx: Context, body: PipelineApply) -> Applied:
    """Make a document the one that runs follow. Applying it again changes nothing. Raises PipelineInvalid."""
    spec = body.spec
    _check(ctx, spec)
    _check_sources(spec)
    store.advisory_lock(ctx.conn, f"pipeline {spec.name}")
    last = store.pipeline_by(ctx.conn, spec.name)
    current = last if last is not None and last.removed_at is None else None
    digest = spec_hash(spec)
    if current is not None and current.hash == digest:
        return Applied(pipeline=current, changes=[])
    pipeline = Pipeline(
        id=last.id if last is not None else new_id("pl"),
        name=spec.name,
        number=last.number + 1 if last is not None else 1,
        hash=digest,
        spec=spec,
        applied_at=ctx.now,
        applied_by=ctx.actor.name,
    )
    store.insert_version(ctx.conn, pipeline)
    changed = planner.changes(current.spec if current is not None else None, spec)
    if current is not None:
        watches.remove_undeclared(ctx, current.spec, spec, _others(ctx, spec.name))
    _, later = watches.put_all(ctx, spec)
    facts = {"pipeline": pipeline.ref, "hash": digest, "changes": [c.path for c in changed]}
    events.emit(ctx, "pipeline.applied", pipeline.id, facts)
    return Applied(pipeline=pipeline, changes=changed, later=later)


def remove(ctx: Context, name: str, body: PipelineRemove) -> PipelineRemoved:
    """Start no run any more and watch nothing for it. Its documents and runs stay readable; applying brings it back.

    Raises PipelineNotFound, and PipelineBusy while a run is on its way, unless `cancel` ends that too.
    """
    store.advisory_lock(ctx.conn, f"pipeline {name}")
    pipeline = get(ctx, name)
    active = store.active_run(ctx.conn, pipeline.id)
    if active is not None and not body.cancel:
        raise PipelineBusy(
            f"{active.ref} is on its way ({active.state}).",
            hint=f"Wait for it, or end it too: tidemill pipelines remove {name} --cancel",
            details={"run": active.id},
        )
    removed = pipeline.model_copy(update={"removed_at": ctx.now, "removed_by": ctx.actor.name})
    store.remove(ctx.conn, removed)
    retired = watches.remove_undeclared(ctx, pipeline.spec, None, _others(ctx, name))
    if active is not None:
        ctx.kernel.get(JobQueue).cancel(ctx, active.job_id)
    named = [t.name for t in triggers.list_triggers(ctx).items if t.pipeline == name]
    cancelled = active.ref if active is not None else None
    facts = {"pipeline": pipeline.ref, "retired": retired, "cancelled": cancelled}
    events.emit(ctx, "pipeline.removed", pipeline.id, facts)
    return PipelineRemoved(pipeline=removed, cancelled=cancelled, retired=retired, named_by=named)


def _others(ctx: Context, name: str) -> list[PipelineSpec]:
    """Return the documents of the other pipelines."""
    others = (store.pipeline_by(ctx.conn, other) for other in store.list_names(ctx.conn) if other != name)
    return [pipeline.spec for pipeline in others if pipeline is not None]


def list_names(ctx: Context) -> list[str]:
    """Return the names of all pipelines, sorted."""
    return store.list_names(ctx.conn)


def _find_active(ctx: Context, name: str) -> Pipeline | None:
    pipeline = store.pipeline_by(ctx.conn, name)
    return pipeline if pipeline is not None and pipeline.removed_at is None else None


def spec_hash(spec: PipelineSpec) -> str:
    """Return the hash of a document. The order of the splits counts, which canonical JSON would lose."""
    split = spec.data.split if spec.data is not None else None
    order = list(split.ratios) if split is not None else None
    return content_hash({"spec": spec.model_dump(mode="json"), "order": order})


def _check(ctx: Context, spec: PipelineSpec) -> None:
    faults = [*references.inner_faults(spec), *references.outer_faults(ctx, spec)]
    if faults:
        raise to_error(faults)


def _check_sources(spec: PipelineSpec) -> None:
    for i, source in enumerate(spec.data.sources if spec.data is not None else []):
        if source.hash is None:
            raise PipelineInvalid(
                f"data.sources.{i}: {source.path} has not been uploaded.",
                hint="Apply it with `tidemill apply` or client.pipelines.apply(path): both upload the files.",
                param=f"data.sources.{i}",
            )


def get(ctx: Context, ref: str) -> Pipeline:
    """Return a pipeline as it was applied last, or with `name@2` as it was then, also after its removal.

    Raises PipelineNotFound.
    """
    pipeline = get_any(ctx, ref)
    if pipeline.removed_at is not None and "@" not in ref:
        raise PipelineNotFound(
            f"{pipeline.removed_by} removed the pipeline {ref} at {pipeline.removed_at:%Y-%m-%d %H:%M} UTC.",
            hint=f"`tidemill apply` brings it back; its runs: tidemill runs list -p {ref}",
        )
    return pipeline


def get_any(ctx: Context, ref: str) -> Pipeline:
    """Return the pipeline of a reference, removed or not. Raises PipelineNotFound."""
    name, _, number = ref.partition("@")
    version_number = parse_number(number)
    readable = not number or version_number is not None
    pipeline = store.pipeline_by(ctx.conn, name, version_number) if readable else None
    if pipeline is None:
        near = nearest(name, store.list_names(ctx.conn))
        raise PipelineNotFound(
            f"There is no pipeline {ref!r}.",
            hint=_near_hint(ctx, near),
        )
    return pipeline


def _near_hint(ctx: Context, near: list[str]) -> str:
    if near:
        return f"Did you mean {', '.join(near)}?"
    if store.list_names(ctx.conn):
        return "`tidemill pipelines list` shows what there is."
    return "Apply one first: tidemill apply"


def list_pipelines(ctx: Context, *, cursor: str | None, limit: int) -> Page[Pipeline]:
    """Return every pipeline as it was applied last, by name."""
    rows = store.list_pipelines(ctx.conn, after=cursor, limit=limit + 1)
    items = rows[:limit]
    return Page(items=items, next_cursor=items[-1].name if len(rows) > limit else None)
