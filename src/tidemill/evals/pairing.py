"""The values of two runs paired item by item, and whether they may be compared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tidemill.core.errors import nearest
from tidemill.evals.types import (
    EvalItem,
    EvalResult,
    EvalRun,
    FailurePolicy,
    MetricRule,
    MetricUnknown,
    RunHasFailures,
    RunNotFinished,
    RunsDiffer,
)

MEASURED: dict[str, Callable[[EvalResult], float | None]] = {
    "latency_ms": lambda r: r.latency_ms,
    "output_tokens": lambda r: r.output_tokens,
    "prompt_tokens": lambda r: r.prompt_tokens,
}
"""Metrics that every run has beside its scorers'."""


@dataclass(frozen=True)
class PairedValues:
    """Values of one metric for the items that both runs have."""

    baseline: np.ndarray
    candidate: np.ndarray
    clusters: list[str]
    dropped: int


def check_comparable(baseline: EvalRun, candidate: EvalRun) -> None:
    """Raise RunNotFinished or RunsDiffer unless both runs have ended well on the same eval set."""
    for run in (baseline, candidate):
        if run.state != "succeeded":
            raise RunNotFinished(f"The run {run.id} is {run.state}.", hint="Compare runs that have succeeded.")
    if baseline.eval_set_id != candidate.eval_set_id:
        raise RunsDiffer(
            f"{baseline.id} answered {baseline.eval_set}, {candidate.id} answered {candidate.eval_set}.",
            hint="Run both on the same eval set.",
        )


def check_metric(baseline: EvalRun, candidate: EvalRun, metric: str) -> None:
    """Raise MetricUnknown, or RunsDiffer when the two runs scored it in different ways."""
    if metric in MEASURED:
        return
    specs = []
    for run in (baseline, candidate):
        spec = next((s for s in run.spec.scorers if s.metric == metric), None)
        if spec is None:
            metrics = [s.metric for s in run.spec.scorers] + sorted(MEASURED)
            near = nearest(metric, metrics)
            raise MetricUnknown(
                f"The run {run.id} has no metric {metric!r}.",
                hint=f"Did you mean {near[0]}?" if near else f"It has {', '.join(metrics)}.",
                param="metric",
            )
        specs.append(spec)
    if (specs[0].scorer, specs[0].config) != (specs[1].scorer, specs[1].config):
        raise RunsDiffer(
            f"The two runs scored {metric!r} with different settings.", hint="Score both runs in the same way."
        )


def check_failures(runs: Sequence[EvalRun], policy: FailurePolicy) -> None:
    """Raise RunHasFailures when answers are missing and nobody said how to count them."""
    if policy != "refuse":
        return
    for run in runs:
        if run.figures is not None and run.figures.failures:
            figures = run.figures
            raise RunHasFailures(
                f"{figures.failures} of {figures.failures + figures.answers} answers of {run.id} are missing.",
                hint="Run it again, or declare `failures`: wrong (they score 0) or drop (the pair is left out).",
            )


def pair_values(
    items: Sequence[EvalItem],
    baseline: Sequence[EvalResult],
    candidate: Sequence[EvalResult],
    rule: MetricRule,
    policy: FailurePolicy,
) -> PairedValues:
    """Return one value an item and run (the mean over repeats), for the items that have both."""
    first, second = _values(baseline, rule, policy), _values(candidate, rule, policy)
    paired_items = [item for item in items if item.id in first and item.id in second]
    return PairedValues(
        baseline=np.array([first[i.id] for i in paired_items], dtype=float),
        candidate=np.array([second[i.id] for i in paired_items], dtype=float),
        clusters=[i.cluster_id for i in paired_items],
        dropped=len(items) - len(paired_items),
    )


def _values(results: Sequence[EvalResult], rule: MetricRule, policy: FailurePolicy) -> dict[str, float]:
    gathered: dict[str, list[float]] = {}
    for result in results:
        value = _value(result, rule, policy)
        if value is not None:
            gathered.setdefault(result.item_id, []).append(value)
    return {item: float(np.mean(values)) for item, values in gathered.items()}


def _value(result: EvalResult, rule: MetricRule, policy: FailurePolicy) -> float | None:
    measure = MEASURED.get(rule.metric)
    if measure is not None:
        return measure(result)
    if not result.failed:
        return result.scores[rule.metric].value
    worst = 0.0 if rule.direction == "higher" else 1.0
    return worst if policy == "wrong" else None
