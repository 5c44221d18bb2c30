"""Prediction-powered inference: a model judges every answer, people judge a few, and the share has both.

Prediction-powered inference (Angelopoulos, Bates, Fannjiang, Jordan, Zrnic, Science 2023) with the tuned weight of
PPI++ (Angelopoulos, Duchi, Zrnic 2023, section 6). It holds when the answers that people judged are a random sample.
"""

from dataclasses import dataclass
from math import sqrt

LEAST = 20
"""With fewer answers judged by both, nothing is corrected."""

DOUBT = 0.00005
"""Chance that a rectifier's lower bound is too high. Half of what a page may err."""


@dataclass(frozen=True)
class PairedSums:
    """Sums over the answers that people and the model judged, each judgement from 0 to 1."""

    count: int
    people: float
    people_squares: float
    model: float
    both: float
    """Sum of the products of people's and the model's judgement."""
    disagreements: float


@dataclass(frozen=True)
class PpiShare:
    """A corrected share with its interval."""

    labelled: int
    share: float
    low: float
    high: float
    bias: float
    """What the model passes more often than people do."""
    agreement: float
    """Share of labelled answers on which both agree."""


@dataclass(frozen=True)
class PpiShift:
    """What people find bad beyond what the model does, as a share of answers."""

    labelled: int
    shift: float
    low: float
    """Lower bound of the shift; it is too high with a chance of `doubt`."""
    doubt: float


def corrected_share(total: int, passed: int, pairs: PairedSums, confidence: float = 0.95) -> PpiShare | None:
    """Return the share of passing answers, of `total` judged by the model and `pairs` judged by people too.

    None with fewer than `LEAST` pairs. The error of the people's part is never less than what one more disagreement
    than was seen would give, so that few answers on which all agree prove no perfect judge.
    """
    from scipy import special

    n, rest = pairs.count, total - pairs.count
    if n < LEAST:
        return None
    people, model = pairs.people / n, pairs.model / n
    spread = max(0.0, (pairs.people_squares - n * people**2) / (n - 1))
    joint = (pairs.both - n * people * model) / (n - 1)
    share = passed / total
    noise = share * (1 - share)
    weight = 0.0
    if rest > 0 and noise > 0:
        weight = min(1.0, max(0.0, joint / ((1 + n / rest) * noise)))
    others = (passed - pairs.model) / rest if rest > 0 else model
    estimate = people + weight * (others - model)
    model_spread = n / (n - 1) * model * (1 - model)
    residual = max(0.0, spread - 2 * weight * joint + weight**2 * model_spread)
    disagreement = (pairs.disagreements + 1) / (n + 2)
    variance = max(residual, disagreement * (1 - disagreement)) / n + (weight**2 * noise / rest if rest > 0 else 0.0)
    half = float(special.ndtri(0.5 + confidence / 2)) * sqrt(variance)
    return PpiShare(
        labelled=n,
        share=min(1.0, max(0.0, estimate)),
        low=max(0.0, estimate - half),
        high=min(1.0, estimate + half),
        bias=model - people,
        agreement=1 - pairs.disagreements / n,
    )


def shift_bound(pairs: PairedSums) -> PpiShift | None:
    """Return what people find bad beyond what the model does, for windows too short to have labels of their own.

    The plain rectifier, the mean of (people - model), and not the tuned one: the tuned weight is right for answers like
    the labelled ones, and would shrink just the sudden change that a short window is there to show. The lower bound is
    exact: Clopper and Pearson's for what the model passes and people do not, less theirs for the opposite, each at half
    the doubt. None with fewer than `LEAST` pairs.
    """
    from scipy import special

    n = pairs.count
    if n < LEAST:
        return None
    lenient, strict = pairs.model - pairs.both, pairs.people - pairs.both
    least_lenient = float(special.betaincinv(lenient, n - lenient + 1, DOUBT / 2)) if lenient > 0 else 0.0
    most_strict = float(special.betaincinv(strict + 1, n - strict, 1 - DOUBT / 2)) if strict < n else 1.0
    return PpiShift(labelled=n, shift=(lenient - strict) / n, low=least_lenient - most_strict, doubt=DOUBT)
