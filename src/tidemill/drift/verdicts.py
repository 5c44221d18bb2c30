"""From a permutation test to a verdict, and from tests to one sentence."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tidemill.drift.types import ClusterShift, DriftField, DriftTest, DriftVerdict
from tidemill.stats.permutation import Floats, p_value, westfall_young

Method = Literal["classifier", "mmd", "ks", "shares"]

MAX_NOISE = 2.0
"""When chance alone makes effects larger than so many times the minimum, a test is inconclusive, whatever its p."""


@dataclass
class PermutationResult:
    """A statistic and its effect for every labelling, the true one first."""

    name: str
    field: DriftField
    method: Method
    rows: tuple[int, int]
    statistics: Floats
    effects: Floats
    minimum: float
    weight: float = 1.0
    """How much of alpha the test gets, relative to the others."""
    figures: tuple[dict[str, float], dict[str, float]] = dataclasses.field(default_factory=lambda: ({}, {}))

    @property
    def null_effect(self) -> float:
        """The effect when nothing has changed."""
        return 0.5 if self.method == "classifier" else 0.0


def adjust_p_values(results: Sequence[PermutationResult]) -> list[float]:
    """Return the adjusted p-value of each test of a report, by Westfall and Young's step-down method."""
    if not results:
        return []
    weights = np.array([test.weight for test in results])
    return [float(p) for p in westfall_young(np.stack([test.statistics for test in results]), weights)]


def judge(result: PermutationResult, adjusted_p: float, alpha: float) -> DriftTest:
    """Return drift when the change is neither chance nor small; inconclusive when chance alone would look large."""
    effect = float(result.effects[0])
    noise = float(np.quantile(result.effects[1:], 1 - alpha))
    verdict: DriftVerdict = "no_drift"
    needed = None
    if adjusted_p <= alpha and effect >= result.minimum:
        verdict = "drift"
    elif result.minimum > result.null_effect and noise - result.null_effect > MAX_NOISE * (
        result.minimum - result.null_effect
    ):
        verdict = "inconclusive"
        needed = further_rows(result, noise)
    return DriftTest(
        name=result.name,
        field=result.field,
        method=result.method,
        rows_reference=result.rows[0],
        rows_window=result.rows[1],
        statistic=float(result.statistics[0]),
        effect=effect,
        minimum_effect=result.minimum,
        noise=noise,
        p_value=p_value(result.statistics),
        adjusted_p=adjusted_p,
        verdict=verdict,
        rows_needed=needed,
        reference=result.figures[0],
        window=result.figures[1],
    )


def further_rows(result: PermutationResult, noise: float) -> int | None:
    """Return how many more window rows would reduce the noise enough; None when only a larger reference can.

    The variance of a difference of two means falls with 1/window + 1/reference.
    """
    factor = MAX_NOISE * (result.minimum - result.null_effect) / (noise - result.null_effect)
    reference, window = result.rows
    inverse = (1 / window + 1 / reference) * factor**2 - 1 / reference
    return math.ceil(1 / inverse) - window if inverse > 0 else None


def overall_verdict(tests: Sequence[DriftTest], unanswered: bool) -> DriftVerdict:
    """Return the verdict of a report; inconclusive when a classifier test is, or when a field has too few rows."""
    if any(test.verdict == "drift" for test in tests):
        return "drift"
    deciding = [test for test in tests if test.method == "classifier"] or list(tests)
    if unanswered or not deciding or any(test.verdict == "inconclusive" for test in deciding):
        return "inconclusive"
    return "no_drift"


_STATISTIC_NAMES = {"classifier": "AUC", "mmd": "MMD", "ks": "KS distance", "shares": "share moved"}


def _summary_order(test: DriftTest) -> tuple[bool, float, str]:
    """Order shares first, for they say what grew; then by p-value."""
    return test.method != "shares", test.adjusted_p, test.name


def write_summary(
    verdict: DriftVerdict, tests: Sequence[DriftTest], clusters: Sequence[ClusterShift], needed: int | None
) -> str:
    """One sentence for a person."""
    if verdict == "no_drift":
        smallest = min((test.adjusted_p for test in tests), default=1.0)
        return f"No drift: none of {len(tests)} tests sees a change that counts (smallest adjusted p {smallest:.2g})."
    if verdict == "inconclusive":
        more = f"{needed} more rows would settle it" if needed else "a larger reference would settle it"
        return f"Not enough rows for an answer: {more}."
    drifted = sorted((t for t in tests if t.verdict == "drift"), key=_summary_order)
    first = drifted[0]
    fields = " and ".join(dict.fromkeys(test.field for test in drifted))
    statistic = f"{_STATISTIC_NAMES[first.method]} {first.effect:.3g}, at least {first.minimum_effect:.3g} counts"
    text = f"Drift in {fields}: {first.name} ({statistic}; adjusted p {first.adjusted_p:.2g})"
    if first.method == "shares":
        name = max(first.window, key=lambda n: first.window[n] - first.reference.get(n, 0))
        text += f", {name} grew from {first.reference.get(name, 0):.0%} to {first.window[name]:.0%}"
    if len(drifted) > 1:
        text += f"; {len(drifted) - 1} other test{'s' if len(drifted) > 2 else ''} too"
    cluster = next((c for c in clusters if c.field == first.field and c.terms), None)
    if cluster is not None:
        grew = "grew" if cluster.change > 0 else "shrank"
        words = ", ".join(cluster.terms[:3])
        text += f"; texts about {words} {grew} from {cluster.share_reference:.0%} to {cluster.share_window:.0%}"
    return text + "."
