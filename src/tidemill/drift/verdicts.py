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

BLIND = 2.0
"""A test whose chance alone makes effects so many times the minimum is blind: it says nothing, however large its p."""


@dataclass
class Measured:
    """A statistic and its effect for every labelling, the true one first."""

    name: str
    field: DriftField
    method: Method
    rows: tuple[int, int]
    statistics: Floats
    effects: Floats
    minimum: float
    weight: float = 1.0
    """How much of alpha the test gets, as against others."""
    figures: tuple[dict[str, float], dict[str, float]] = dataclasses.field(default_factory=lambda: ({}, {}))

    @property
    def nothing(self) -> float:
        """The effect when nothing has changed at all."""
        return 0.5 if self.method == "classifier" else 0.0


def corrected(measured: Sequence[Measured]) -> list[float]:
    """The adjusted p-value of each test of a report."""
    if not measured:
        return []
    weights = np.array([found.weight for found in measured])
    return [float(p) for p in westfall_young(np.stack([found.statistics for found in measured]), weights)]


def judge(found: Measured, adjusted_p: float, alpha: float) -> DriftTest:
    """Drift when the change is neither chance nor small; inconclusive when chance alone would look large."""
    effect = float(found.effects[0])
    noise = float(np.quantile(found.effects[1:], 1 - alpha))
    verdict: DriftVerdict = "no_drift"
    needed = None
    if adjusted_p <= alpha and effect >= found.minimum:
        verdict = "drift"
    elif found.minimum > found.nothing and noise - found.nothing > BLIND * (found.minimum - found.nothing):
        verdict = "inconclusive"
        needed = further_rows(found, noise)
    return DriftTest(
        name=found.name,
        field=found.field,
        method=found.method,
        rows_reference=found.rows[0],
        rows_window=found.rows[1],
        statistic=float(found.statistics[0]),
        effect=effect,
        minimum_effect=found.minimum,
        noise=noise,
        p_value=p_value(found.statistics),
        adjusted_p=adjusted_p,
        verdict=verdict,
        rows_needed=needed,
        reference=found.figures[0],
        window=found.figures[1],
    )


def further_rows(found: Measured, noise: float) -> int | None:
    """Rows of the window that would bring the noise down far enough; None when only a larger reference can.

    The variance of a difference of two means falls with 1/window + 1/reference.
    """
    wanted = BLIND * (found.minimum - found.nothing) / (noise - found.nothing)
    reference, window = found.rows
    left = (1 / window + 1 / reference) * wanted**2 - 1 / reference
    return math.ceil(1 / left) - window if left > 0 else None


def overall(tests: Sequence[DriftTest], unanswered: bool) -> DriftVerdict:
    """The verdict of a report. A field whose classifier is blind, or that has too few rows, leaves it open."""
    if any(test.verdict == "drift" for test in tests):
        return "drift"
    deciding = [test for test in tests if test.method == "classifier"] or list(tests)
    if unanswered or not deciding or any(test.verdict == "inconclusive" for test in deciding):
        return "inconclusive"
    return "no_drift"


_SAID = {"classifier": "AUC", "mmd": "MMD", "ks": "KS distance", "shares": "share moved"}


def _telling(test: DriftTest) -> tuple[bool, float, str]:
    """Shares first: they say what grew. Then the surest."""
    return test.method != "shares", test.adjusted_p, test.name


def summary(
    verdict: DriftVerdict, tests: Sequence[DriftTest], clusters: Sequence[ClusterShift], needed: int | None
) -> str:
    """One sentence for a person."""
    if verdict == "no_drift":
        least = min((test.adjusted_p for test in tests), default=1.0)
        return f"No drift: none of {len(tests)} tests sees a change that counts (smallest adjusted p {least:.2g})."
    if verdict == "inconclusive":
        more = f"{needed} more rows would settle it" if needed else "a larger reference would settle it"
        return f"Not enough rows for an answer: {more}."
    drifted = sorted((t for t in tests if t.verdict == "drift"), key=_telling)
    first = drifted[0]
    fields = " and ".join(dict.fromkeys(test.field for test in drifted))
    said = f"{_SAID[first.method]} {first.effect:.3g}, at least {first.minimum_effect:.3g} counts"
    text = f"Drift in {fields}: {first.name} ({said}; adjusted p {first.adjusted_p:.2g})"
    if first.method == "shares":
        name = max(first.window, key=lambda n: first.window[n] - first.reference.get(n, 0))
        text += f", {name} grew from {first.reference.get(name, 0):.0%} to {first.window[name]:.0%}"
    if len(drifted) > 1:
        text += f"; {len(drifted) - 1} other test{'s' if len(drifted) > 2 else ''} too"
    moved = next((c for c in clusters if c.field == first.field and c.terms), None)
    if moved is not None:
        grew = "grew" if moved.change > 0 else "shrank"
        about = ", ".join(moved.terms[:3])
        text += f"; texts about {about} {grew} from {moved.share_reference:.0%} to {moved.share_window:.0%}"
    return text + "."
