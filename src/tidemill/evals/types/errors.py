"""What can go wrong in evaluation, each with its stable code."""

from tidemill.core.errors import Conflict, Failed, Invalid, NotFound


class EvalSetNotFound(NotFound):
    """No eval set of that name, number or id."""

    code = "eval_set_not_found"


class EvalRunNotFound(NotFound):
    """No eval run of that id."""

    code = "eval_run_not_found"


class ComparisonNotFound(NotFound):
    """No comparison of that id."""

    code = "comparison_not_found"


class EvalSetInvalid(Invalid):
    """The dataset version cannot be read as eval items with this mapping."""

    code = "eval_set_invalid"


class ScorerInvalid(Invalid):
    """A scorer's configuration, or what it was given to score with."""

    code = "scorer_invalid"


class TargetInvalid(Invalid):
    """The target of a run is described in a way that cannot be used."""

    code = "target_invalid"


class TargetRefused(Failed):
    """The target refuses every request: a wrong key, or no such model."""

    code = "target_refused"


class NoAnswers(Failed):
    """Not one item was answered, so there is nothing to measure."""

    code = "no_answers"


class TooFewPairs(Invalid):
    """The runs share too few items for a verdict."""

    code = "too_few_pairs"


class RunsDiffer(Conflict):
    """Two runs that do not measure the same thing cannot be compared."""

    code = "runs_differ"


class RunNotFinished(Conflict):
    """A run without its results cannot be compared."""

    code = "run_not_finished"


class RunHasFailures(Conflict):
    """Items without an answer: say how to count them before comparing."""

    code = "run_has_failures"


class MetricUnknown(Invalid):
    """The runs have no such metric."""

    code = "metric_unknown"
