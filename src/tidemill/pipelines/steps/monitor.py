"""The step that has the release watched from now on."""

from tidemill.pipelines import store, watches
from tidemill.pipelines.steps.context import StepContext, StepResult
from tidemill.pipelines.types import StepFailed


def run_watch(context: StepContext) -> StepResult:
    """Create the declared monitors, SLOs, KPIs and triggers that do not exist yet.

    Declared by the document as it is now: a run of an earlier one must not bring back what was taken out since.
    """
    with context.job_context.write() as ctx:
        newest = store.pipeline_by(ctx.conn, context.spec.name)
        if newest is None or newest.removed_at is not None:
            return StepResult({}, "the pipeline was removed, so nothing is watched", unchanged=True)
        created, later = watches.put_all(ctx, newest.spec)
    if later:
        raise StepFailed(
            f"Not everything can be watched: {later[0]}",
            hint="Correct the document, apply it, and start a new run.",
            details={"later": later},
        )
    if not created:
        return StepResult({}, "everything declared is watched already", unchanged=True)
    return StepResult({"made": created}, ", ".join(created))
