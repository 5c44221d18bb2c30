"""The arithmetic of SLOs: error budgets, burn rates over two windows, and verdicts.

The pairs of windows and their factors are those of the Site Reliability Workbook (Google, 2018, chapter 5): a rule
fires when both a long window and one of a twelfth of its length burn the budget faster than its factor.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from tidemill.notifications.types import Severity
from tidemill.slos.types import BurnRule, CorrectedShare, Rectifier, Slo, SloCounts, SloStatus, SloVerdict
from tidemill.stats.rates import wilson

HOUR, DAY = 3600, 86400

ALPHA: dict[Severity, float] = {"page": 0.0001, "ticket": 0.001}
"""A rule fires only when so many bad events are less likely than this under an objective that is just met. A page is
evaluated ten thousand times a week, and its windows are short: at 0.001 one week in eight had a false one."""

Z = 1.959963984540054

MAX_BURN_SHARE = 0.9
"""A factor that a lenient objective can never reach is lowered to this share of the fastest burn there is."""


@dataclass(frozen=True)
class WindowPair:
    """A long window, the burn rate at which it alerts, and the severity. The short window is a twelfth of it."""

    severity: Severity
    factor: float
    long_s: int


WINDOW_PAIRS = (WindowPair("page", 14.4, HOUR), WindowPair("page", 6.0, 6 * HOUR), WindowPair("ticket", 1.0, 3 * DAY))

CountSince = Callable[[datetime], SloCounts]
"""Returns the counts of calls or scores from a given time up to now."""


def burn_rules(slo: Slo, now: datetime, count: CountSince, rectifier: Rectifier | None = None) -> list[BurnRule]:
    """Return every rule of an objective with its figures. No window is longer than the objective's own.

    `rectifier` corrects every window's share by people's labels of the same answers.
    """
    fastest = MAX_BURN_SHARE / (1 - slo.goal)
    rules = []
    for pair in WINDOW_PAIRS:
        long_s = min(pair.long_s, slo.window_s)
        short_s = long_s // 12
        long = count(now - timedelta(seconds=long_s))
        short = count(now - timedelta(seconds=short_s))
        lowered = WindowPair(pair.severity, min(pair.factor, fastest), long_s)
        rules.append(_rule(slo, lowered, short_s, long, short, rectifier))
    return rules


def _rule(
    slo: Slo, pair: WindowPair, short_s: int, long: SloCounts, short: SloCounts, rectifier: Rectifier | None
) -> BurnRule:
    budget = 1 - slo.goal
    long_burn, short_burn = _burn(long, budget, rectifier), _burn(short, budget, rectifier)
    p_value = rectified_p_value(long, budget, rectifier) if long.total else None
    verdict, why = _judge(slo, pair, long, long_burn, short_burn, p_value, rectifier)
    return BurnRule(
        severity=pair.severity,
        factor=pair.factor,
        long_s=pair.long_s,
        short_s=short_s,
        long=long,
        short=short,
        long_burn=long_burn,
        short_burn=short_burn,
        p_value=p_value,
        verdict=verdict,
        why=why,
    )


def _burn(counts: SloCounts, budget: float, rectifier: Rectifier | None) -> float | None:
    """Return the corrected share of bad events as a multiple of the budget; None when nothing was counted."""
    if not counts.total:
        return None
    share = counts.bad / counts.total + (rectifier.shift if rectifier is not None else 0.0)
    return min(1.0, max(0.0, share)) / budget


def _judge(
    slo: Slo,
    pair: WindowPair,
    long: SloCounts,
    long_burn: float | None,
    short_burn: float | None,
    p_value: float | None,
    rectifier: Rectifier | None,
) -> tuple[str, str]:
    if slo.corrected and rectifier is None:
        return "inconclusive", "people have judged too few of the answers"
    if long.total < slo.min_events or long_burn is None or p_value is None:
        return "inconclusive", f"{long.total} of at least {slo.min_events} events"
    if long_burn < pair.factor:
        return "quiet", f"burns at {long_burn:.3g}x, under {pair.factor:.3g}x"
    if short_burn is None:
        return "inconclusive", "nothing came lately, so nobody knows whether it goes on"
    if short_burn < pair.factor:
        return "quiet", f"burnt at {long_burn:.3g}x, and has stopped: {short_burn:.3g}x lately"
    if p_value > ALPHA[pair.severity]:
        with_labels = f" and {rectifier.labelled} labels" if rectifier is not None else ""
        return (
            "inconclusive",
            f"burns at {long_burn:.3g}x, which {long.bad} of {long.total}{with_labels} do not yet prove",
        )
    return "burning", f"burns the error budget at {long_burn:.3g}x, {short_burn:.3g}x lately"


def binomial_p_value(counts: SloCounts, bad_share: float) -> float:
    """Return the chance of at least so many bad ones when each is bad with `bad_share` (binomial, exact)."""
    from scipy import special

    return 1.0 if counts.bad == 0 else float(special.bdtrc(counts.bad - 1, counts.total, bad_share))


def rectified_p_value(counts: SloCounts, bad_share: float, rectifier: Rectifier | None) -> float:
    """Return the same when a model judges and people's labels correct it.

    The model may find as many bad as leaves people `bad_share`, by the smallest share that the labels allow people to
    find beyond it. The chance that the labels mislead further is added (Berger and Boos 1994).
    """
    if rectifier is None:
        return binomial_p_value(counts, bad_share)
    allowed = bad_share - rectifier.low
    if allowed <= 0:  # what the model does not see is more than is allowed, whatever it sees
        return rectifier.doubt
    return min(1.0, rectifier.doubt + binomial_p_value(counts, min(1.0, allowed)))


def build_status(
    slo: Slo,
    now: datetime,
    count: CountSince,
    alerts: list[str],
    corrected: CorrectedShare | None = None,
    rectifier: Rectifier | None = None,
) -> SloStatus:
    """Return where the SLO stands: share of good ones with its interval, what is left of the budget, every rule."""
    counts = count(now - timedelta(seconds=slo.window_s))
    share = low = high = budget_left = None
    if counts.total:
        rate = wilson(counts.total - counts.bad, counts.total)
        share, low, high = rate.value, rate.low, rate.high
        bad_share = 1 - corrected.share if corrected is not None else counts.bad / counts.total
        budget_left = 1 - bad_share / (1 - slo.goal)
    if slo.corrected:
        verdict, needed = judge_corrected(slo.goal, corrected), None
    else:
        verdict, needed = judge_share(slo.goal, slo.min_events, counts, low, high)
    return SloStatus(
        slo=slo,
        at=now,
        counts=counts,
        share=share,
        low=low,
        high=high,
        budget_left=budget_left,
        corrected=corrected,
        rectifier=rectifier,
        verdict=verdict,
        needed=needed,
        rules=burn_rules(slo, now, count, rectifier),
        alerts=alerts,
    )


def judge_share(
    goal: float, min_events: int, counts: SloCounts, low: float | None, high: float | None
) -> tuple[SloVerdict, int | None]:
    """Return whether the share is on one side of the goal for sure; else about how many more events would settle it."""
    if counts.total < min_events or low is None or high is None:
        return "inconclusive", min_events - counts.total
    if low >= goal:
        return "pass", None
    if high < goal:
        return "fail", None
    share = 1 - counts.bad / counts.total
    gap = abs(share - goal)
    # At 0 or 1 the plain variance is 0; Wilson's centre is not.
    centre = (counts.total * share + Z * Z / 2) / (counts.total + Z * Z)
    if gap < 1e-9:
        return "inconclusive", None
    return "inconclusive", max(1, ceil(Z * Z * centre * (1 - centre) / gap**2) - counts.total)


def judge_corrected(goal: float, share: CorrectedShare | None) -> SloVerdict:
    """Return whether the corrected share is on one side of the goal for sure. Inconclusive without enough labels."""
    if share is None:
        return "inconclusive"
    return "pass" if share.low >= goal else "fail" if share.high < goal else "inconclusive"


def joint_verdict(rules: list[BurnRule], severity: Severity) -> str:
    """Return what the rules of one severity say together: burning when one burns, quiet when all are."""
    verdicts = {rule.verdict for rule in rules if rule.severity == severity}
    return "burning" if "burning" in verdicts else "quiet" if verdicts == {"quiet"} else "inconclusive"
