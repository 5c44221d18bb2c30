"""The step that has the release watched from now on."""

from tidemill.pipelines import store, watches
from tidemill.pipelines.steps.turn import Outcome, Turn
from tidemill.pipelines.types import StepFailed


def do_watch(turn: Turn) -> Outcome:
    """Make the monitors, objectives, indicators and triggers that are not there yet.

    Declared by the document as it is now: a run of an earlier one must not bring back what was taken out since.
    """
    with turn.at.write() as ctx:
        newest = store.pipeline_by(ctx.conn, turn.spec.name)
        if newest is None or newest.removed_at is not None:
            return Outcome({}, "the pipeline was removed, so nothing is watched", unchanged=True)
        made, later = watches.put_all(ctx, newest.spec)
    if later:
        raise StepFailed(
            f"Not everything can be watched: {later[0]}",
            hint="Correct the document, apply it, and start a new run.",
            details={"later": later},
        )
    if not made:
        return Outcome({}, "everything declared is watched already", unchanged=True)
    return Outcome({"made": made}, ", ".join(made))
