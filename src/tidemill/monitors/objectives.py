"""Deciding about objectives: what is kept, and what a check of one opens or resolves."""

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from tidemill.core.actors import Actor
from tidemill.core.kernel import Context, Kernel
from tidemill.core.wire import Page
from tidemill.monitors import alerts, sli, slo, triggers, watched
from tidemill.monitors.lengths import span
from tidemill.monitors.store import objectives as store
from tidemill.monitors.types import (
    Alert,
    BurnRule,
    Cause,
    CorrectedShare,
    Rectifier,
    Severity,
    Slo,
    SloNotFound,
    SloPut,
    SloStatus,
)
from tidemill.stats import ppi
from tidemill.traces import service as traces

QUIET_S = 300.0
"""An alert resolves itself when its rules have been quiet for so long: a burn at the border would flicker."""

SEVERITIES: tuple[Severity, ...] = ("page", "ticket")


def put(ctx: Context, name: str, body: SloPut) -> Slo:
    """Make or change an objective. When it counts something else than before, counting begins again."""
    row, changed = watched.put(ctx, "slo", name, body.model_dump(mode="json"))
    if changed:
        store.forget_counts(ctx.conn, row["id"])
    return _slo(row)


def turn_key(name: str) -> str:
    """Under which the scheduler takes turns."""
    return watched.turn_key("slo", name)


def _slo(row: dict[str, Any]) -> Slo:
    return Slo.model_validate(watched.fields(row))


def row_of(ctx: Context, name: str) -> dict[str, Any]:
    """One objective as it is kept. Raises SloNotFound."""
    return watched.get(ctx, "slo", name, "objective", SloNotFound)


def get(ctx: Context, name: str) -> Slo:
    """One objective. Raises SloNotFound."""
    return _slo(row_of(ctx, name))


def listing(ctx: Context, *, cursor: str | None = None, limit: int = 50) -> Page[Slo]:
    """Objectives by name."""
    found = [_slo(row) for row in store.listing(ctx.conn, "slo", after=cursor, limit=limit + 1)]
    return Page(items=found[:limit], next_cursor=found[limit - 1].name if len(found) > limit else None)


def remove(ctx: Context, name: str) -> None:
    """Look at it no longer; its alerts are resolved. Raises SloNotFound."""
    row = row_of(ctx, name)
    for severity in SEVERITIES:
        alerts.clear(ctx, f"slo:{name}:{severity}", why="The objective was removed.")
    watched.remove(ctx, "slo", name, row["id"])


def status(ctx: Context, name: str) -> SloStatus:
    """Where an objective stands now. Nothing is opened or resolved. Raises SloNotFound."""
    return _measure(ctx, name)[0]


def _measure(ctx: Context, name: str) -> tuple[SloStatus, dict[str, Any], sli.Fresh]:
    row = row_of(ctx, name)
    found = _slo(row)
    fresh = sli.count_fresh(ctx, found, row["counted_until"], row["counted_position"])
    standing = [alert.id for alert in alerts.unresolved(ctx, "slo", name)]
    count = sli.counter(ctx, found, row["counted_until"], fresh)
    share, people = _people(ctx, found)
    return slo.status(found, ctx.now, count, standing, share, people), row, fresh


def _people(ctx: Context, found: Slo) -> tuple[CorrectedShare | None, Rectifier | None]:
    """What people's labels over the whole window say: of the share, and of the model that judges."""
    if not found.corrected:
        return None, None
    wanted = sli.score_filter(found, ctx.now - timedelta(seconds=found.window_s))
    total, passed = traces.count_passing(ctx, wanted, found.passing)
    pairs = ppi.PairedSums(**asdict(traces.judged_by_both(ctx, wanted, found.passing)))
    share, shift = ppi.corrected_share(total, passed, pairs), ppi.shift_bound(pairs)
    return (
        CorrectedShare.model_validate(asdict(share)) if share is not None else None,
        Rectifier.model_validate(asdict(shift)) if shift is not None else None,
    )


def check(kernel: Kernel, actor: Actor, name: str) -> SloStatus:
    """Look now: count outside any writing transaction, then open or resolve alerts. Raises SloNotFound."""
    with kernel.read(actor) as ctx:
        measured, row, fresh = _measure(ctx, name)
    with kernel.write(actor) as ctx:
        if not store.checked(ctx.conn, row["id"], at=measured.at, verdict=measured.verdict, summary=summary(measured)):
            return measured  # a later check has spoken, or the objective is gone
        sli.settle(ctx, measured.slo, row["counted_until"], fresh)
        for severity in SEVERITIES:
            _follow(ctx, measured, severity)
        triggers.look_at_all(ctx)
        standing = [alert.id for alert in alerts.unresolved(ctx, "slo", name)]
    return measured.model_copy(update={"alerts": standing})


def _follow(ctx: Context, measured: SloStatus, severity: Severity) -> Alert | None:
    said = slo.speaks(measured.rules, severity)
    cause = f"slo:{measured.slo.name}:{severity}"
    if said == "quiet":
        return alerts.clear(ctx, cause, quiet_s=QUIET_S, why="The error budget is no longer burnt too fast.")
    if said != "burning":
        return None
    rules = [rule for rule in measured.rules if rule.severity == severity and rule.verdict == "burning"]
    return alerts.raise_(ctx, _cause(measured, severity, rules))


def _cause(measured: SloStatus, severity: Severity, rules: list[BurnRule]) -> Cause:
    goal = measured.slo
    what = {
        "latency": f"calls within {goal.threshold_ms or 0:g} ms",
        "errors": "calls without error",
        "quality": f"{goal.score} passing",
    }[goal.kind]
    worst = max(rules, key=lambda rule: rule.factor)
    share = 1 - (worst.long_burn or 0.0) * (1 - goal.goal)
    by = " by people's word" if measured.rectifier is not None else ""
    title = f"{goal.name}: {share:.1%} {what}{by} in {span(worst.long_s)}, goal {goal.goal:.4g}; {worst.why}"
    evidence: dict[str, Any] = {
        "goal": goal.goal,
        "share": measured.share,
        "budget_left": measured.budget_left,
        "rules": [rule.model_dump(mode="json") for rule in rules],
    }
    if measured.rectifier is not None:
        evidence["rectifier"] = measured.rectifier.model_dump(mode="json")
    return Cause(kind="slo", name=goal.name, severity=severity, title=title, evidence=evidence)


def summary(measured: SloStatus) -> str:
    """One line on where an objective stands."""
    if measured.share is None:
        return "nothing was counted"
    left = measured.budget_left if measured.budget_left is not None else 1.0
    burning = [rule for rule in measured.rules if rule.verdict == "burning"]
    fastest = max((rule.long_burn or 0.0 for rule in burning), default=0.0)
    tail = f", burning at {fastest:.3g}x" if burning else ""
    budget = f"{left:.0%} of the budget left" if left >= 0 else f"budget overspent by {-left:.0%}"
    if not measured.slo.corrected:
        return f"{measured.share:.2%} of {measured.counts.total} good, {budget}{tail}"
    if measured.corrected is None:
        return f"{measured.share:.2%} of {measured.counts.total} good says the model; too few labels to correct it"
    people = measured.corrected
    return f"{people.share:.2%} good by {people.labelled} labels, {measured.share:.2%} says the model, {budget}{tail}"
