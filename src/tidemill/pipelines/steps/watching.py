"""The step that has the release watched from now on."""

from tidemill.pipelines import watches
from tidemill.pipelines.steps.turn import Outcome, Turn
from tidemill.pipelines.types import StepFailed


def do_watch(turn: Turn) -> Outcome:
    """Make the declared monitors, objectives, indicators and triggers that are not there yet."""
    with turn.at.work() as ctx:
        made, later = watches.put_all(ctx, turn.spec)
    if later:
        raise StepFailed(
            f"Not everything can be watched: {later[0]}",
            hint="Correct the document, apply it, and start a new run.",
            details={"later": later},
        )
    if not made:
        return Outcome({}, "everything declared is watched already", unchanged=True)
    return Outcome({"made": made}, ", ".join(made))
