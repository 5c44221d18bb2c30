"""SLOs: their definitions, their status, and checks that raise or resolve alerts."""

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from tidemill.core import events
from tidemill.core.actors import Actor
from tidemill.core.db import advisory_lock
from tidemill.core.durations import format_duration
from tidemill.core.errors import nearest
from tidemill.core.kernel import Context, Kernel
from tidemill.core.wire import Page, new_id
from tidemill.feedback import service as feedback
from tidemill.notifications.service import alerts
from tidemill.notifications.types import Alert, AlertCause, Severity
from tidemill.slos import burn_rate, sli, store
from tidemill.slos.store import SloRecord
from tidemill.slos.types import (
    BurnRule,
    CorrectedShare,
    Rectifier,
    Slo,
    SloNotFound,
    SloPut,
    SloStatus,
)
from tidemill.stats import ppi

RESOLVE_AFTER_S = 300.0
"""An alert is resolved when its rules have been quiet for so long, so that a burn at the threshold does not flap."""

SEVERITIES: tuple[Severity, ...] = ("page", "ticket")

SAVED, REMOVED = "slo.saved", "slo.removed"
CHECKED = "slo.checked"
"""Only notified, not recorded: an SLO is checked every minute."""


def put(ctx: Context, name: str, body: SloPut) -> Slo:
    """Make or change an SLO. When it counts something else than before, counting begins again."""
    _lock(ctx, name)
    existing = store.by_name(ctx.conn, name)
    slo = Slo(
        id=existing.slo.id if existing is not None else new_id("slo"),
        name=name,
        saved_by=ctx.actor.name,
        saved_at=ctx.now,
        **dict(body),
    )
    if existing is not None:
        if slo == existing.slo.model_copy(update={"saved_by": slo.saved_by, "saved_at": slo.saved_at}):
            return existing.slo
        store.delete_counts(ctx.conn, slo.id)
    store.put(ctx.conn, slo)
    events.emit(ctx, SAVED, slo.id, {"name": name, **body.model_dump(mode="json")})
    return slo


def _lock(ctx: Context, name: str) -> None:
    """Let no other transaction make, change or remove the SLO of a name until this one ends."""
    advisory_lock(ctx.conn, f"slo {name}")


def _record(ctx: Context, name: str) -> SloRecord:
    record = store.by_name(ctx.conn, name)
    if record is None:
        suggestions = nearest(name, names(ctx))
        hint = f"Did you mean {', '.join(suggestions)}?" if suggestions else "`tidemill slo list` shows what there is."
        raise SloNotFound(f"There is no objective {name!r}.", hint=hint)
    return record


def names(ctx: Context) -> list[str]:
    """Return the names of all SLOs, sorted."""
    return [record.slo.name for record in store.list_slos(ctx.conn)]


def get(ctx: Context, name: str) -> Slo:
    """Return one SLO. Raises SloNotFound."""
    return _record(ctx, name).slo


def list_slos(ctx: Context, *, cursor: str | None = None, limit: int = 50) -> Page[Slo]:
    """Return SLOs by name."""
    slos = [record.slo for record in store.list_slos(ctx.conn, after=cursor, limit=limit + 1)]
    return Page(items=slos[:limit], next_cursor=slos[limit - 1].name if len(slos) > limit else None)


def list_records(ctx: Context) -> list[SloRecord]:
    """Return every SLO with what its last check said, by name."""
    return store.list_slos(ctx.conn)


def remove(ctx: Context, name: str) -> None:
    """Delete an SLO; its alerts are resolved. Raises SloNotFound."""
    _lock(ctx, name)
    slo = get(ctx, name)
    store.delete(ctx.conn, slo.id)  # before the alerts, so that a check that goes on now raises none
    for severity in SEVERITIES:
        alerts.clear(ctx, f"slo:{name}:{severity}", why="The objective was removed.")
    events.emit(ctx, REMOVED, slo.id, {"name": name})


def get_status(ctx: Context, name: str) -> SloStatus:
    """Return the status of an SLO now. Raises or resolves no alert. Raises SloNotFound."""
    return _measure(ctx, name)[0]


def _measure(ctx: Context, name: str) -> tuple[SloStatus, SloRecord, sli.FreshCounts]:
    record = _record(ctx, name)
    slo = record.slo
    fresh = sli.count_fresh(ctx, slo, record.counted_until, record.counted_position)
    open_alerts = [alert.id for alert in alerts.list_unresolved(ctx, "slo", name)]
    count = sli.build_counter(ctx, slo, record.counted_until, fresh)
    share, rectifier = _correction(ctx, slo)
    return burn_rate.build_status(slo, ctx.now, count, open_alerts, share, rectifier), record, fresh


def _correction(ctx: Context, slo: Slo) -> tuple[CorrectedShare | None, Rectifier | None]:
    """Return the share and the model's bias, corrected by people's labels over the whole window."""
    if not slo.corrected:
        return None, None
    scores = sli.score_filter(slo, ctx.now - timedelta(seconds=slo.window_s))
    total, passed = feedback.count_passing(ctx, scores, slo.passing)
    pairs = ppi.PairedSums(**asdict(feedback.sum_judged_pairs(ctx, scores, slo.passing)))
    share, rectifier = ppi.corrected_share(total, passed, pairs), ppi.shift_bound(pairs)
    return (
        CorrectedShare.model_validate(asdict(share)) if share is not None else None,
        Rectifier.model_validate(asdict(rectifier)) if rectifier is not None else None,
    )


def check(kernel: Kernel, actor: Actor, name: str) -> SloStatus:
    """Count in a reading transaction, then raise or resolve alerts, and notify `slo.checked`.

    Raises SloNotFound.
    """
    with kernel.read(actor) as ctx:
        measured, record, fresh = _measure(ctx, name)
    slo = measured.slo
    with kernel.write(actor) as ctx:
        recorded = store.record_check(
            ctx.conn, slo, at=measured.at, verdict=measured.verdict, summary=summarize(measured)
        )
        if not recorded:
            return measured  # a later check was recorded already, or the SLO is gone or another one now
        sli.store_settled(ctx, slo, record.counted_until, fresh)
        for severity in SEVERITIES:
            _update_alert(ctx, measured, severity)
        events.notify(ctx, CHECKED, slo.id, {"name": name})
        open_alerts = [alert.id for alert in alerts.list_unresolved(ctx, "slo", name)]
    return measured.model_copy(update={"alerts": open_alerts})


def _update_alert(ctx: Context, measured: SloStatus, severity: Severity) -> Alert | None:
    verdict = burn_rate.joint_verdict(measured.rules, severity)
    cause = f"slo:{measured.slo.name}:{severity}"
    if verdict == "quiet":
        return alerts.clear(ctx, cause, quiet_s=RESOLVE_AFTER_S, why="The error budget is no longer burnt too fast.")
    if verdict != "burning":
        return None
    rules = [rule for rule in measured.rules if rule.severity == severity and rule.verdict == "burning"]
    return alerts.raise_alert(ctx, _cause(measured, severity, rules))


def _cause(measured: SloStatus, severity: Severity, rules: list[BurnRule]) -> AlertCause:
    slo = measured.slo
    condition = {
        "latency": f"calls within {slo.threshold_ms or 0:g} ms",
        "errors": "calls without error",
        "quality": f"{slo.score} passing",
    }[slo.kind]
    worst = max(rules, key=lambda rule: rule.factor)
    share = 1 - (worst.long_burn or 0.0) * (1 - slo.goal)
    rectified = " by people's word" if measured.rectifier is not None else ""
    measured_share = f"{share:.1%} {condition}{rectified} in {format_duration(worst.long_s)}"
    title = f"{slo.name}: {measured_share}, goal {slo.goal:.4g}; {worst.why}"
    evidence: dict[str, Any] = {
        "goal": slo.goal,
        "share": measured.share,
        "budget_left": measured.budget_left,
        "rules": [rule.model_dump(mode="json") for rule in rules],
    }
    if measured.rectifier is not None:
        evidence["rectifier"] = measured.rectifier.model_dump(mode="json")
    return AlertCause(kind="slo", name=slo.name, severity=severity, title=title, evidence=evidence)


def summarize(measured: SloStatus) -> str:
    """Return one line on the status of an SLO."""
    if measured.share is None:
        return "nothing was counted"
    budget_left = measured.budget_left if measured.budget_left is not None else 1.0
    burning = [rule for rule in measured.rules if rule.verdict == "burning"]
    fastest = max((rule.long_burn or 0.0 for rule in burning), default=0.0)
    tail = f", burning at {fastest:.3g}x" if burning else ""
    budget = f"{budget_left:.0%} of the budget left" if budget_left >= 0 else f"budget overspent by {-budget_left:.0%}"
    if not measured.slo.corrected:
        return f"{measured.share:.2%} of {measured.counts.total} good, {budget}{tail}"
    if measured.corrected is None:
        return f"{measured.share:.2%} of {measured.counts.total} good says the model; too few labels to correct it"
    by_people = measured.corrected
    by_labels = f"{by_people.share:.2%} good by {by_people.labelled} labels"
    return f"{by_labels}, {measured.share:.2%} says the model, {budget}{tail}"
