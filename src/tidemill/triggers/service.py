"""Triggers: two conditions, a cooldown and a budget. Pipelines listen to the event `trigger.fired`."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from tidemill.access.service import require
from tidemill.core import events
from tidemill.core.durations import format_duration
from tidemill.core.errors import TidemillError, nearest
from tidemill.core.event_types import Event
from tidemill.core.kernel import Context, Listener
from tidemill.core.web import page
from tidemill.core.wire import Page, new_id
from tidemill.data import service as data
from tidemill.data.types import DatasetNotFound
from tidemill.drift import service as drift
from tidemill.kpis import service as kpis
from tidemill.notifications.service import alerts, deliveries
from tidemill.notifications.types import Alert, AlertCause, NotificationMessage
from tidemill.slos import service as slos
from tidemill.triggers import store
from tidemill.triggers.types import (
    Condition,
    ConditionsNotMet,
    Firing,
    FiringNotFound,
    FiringSettle,
    ManualFire,
    PipelineNames,
    TrafficWindow,
    Trigger,
    TriggerCooling,
    TriggerIncomplete,
    TriggerNotFound,
    TriggerOverBudget,
    TriggerPipelineMissing,
    TriggerPut,
    TriggerStatus,
)

FIRED, HELD = "trigger.fired", "trigger.held"


def put(ctx: Context, name: str, body: TriggerPut) -> Trigger:
    """Make or change a trigger.

    Raises TriggerIncomplete, DriftMonitorNotFound when a condition names nothing monitored or the pipeline is not
    there.
    """
    _check_names(ctx, body)
    store.lock(ctx.conn, name)
    existing = store.by_name(ctx.conn, name)
    trigger = Trigger(
        id=existing.trigger.id if existing is not None else new_id("trg"),
        name=name,
        saved_by=ctx.actor.name,
        saved_at=ctx.now,
        **dict(body),
    )
    if existing is not None:
        author = {"saved_by": trigger.saved_by, "saved_at": trigger.saved_at}
        if trigger == existing.trigger.model_copy(update=author):
            return existing.trigger
    store.put(ctx.conn, trigger)
    events.emit(ctx, "trigger.saved", trigger.id, {"name": name, **body.model_dump(mode="json")})
    return trigger


def _check_names(ctx: Context, body: TriggerPut) -> None:
    # A condition with a typing error in it would never be met, and nobody would know.
    pipelines = _pipeline_names(ctx)
    if body.pipeline not in pipelines:
        suggestions = nearest(body.pipeline, pipelines)
        hint = f"Did you mean {', '.join(suggestions)}?" if suggestions else "Apply it first: tidemill apply"
        raise TriggerIncomplete(f"pipeline: there is no pipeline {body.pipeline!r}.", hint=hint, param="pipeline")
    for name in body.drift:
        drift.get_monitor(ctx, name)
    _check_monitored("slos", body.slos, slos.names(ctx))
    _check_monitored("kpis", body.kpis, kpis.names(ctx))


def _check_monitored(field: str, names: list[str], monitored: list[str]) -> None:
    for name in names:
        if name not in monitored:
            suggestions = nearest(name, monitored)
            hint = (
                f"Did you mean {', '.join(suggestions)}?"
                if suggestions
                else "`tidemill monitors list` shows what is monitored."
            )
            raise TriggerIncomplete(f"{field}: nothing called {name!r} is monitored.", hint=hint, param=field)


def _pipeline_names(ctx: Context) -> list[str]:
    return ctx.kernel.get(PipelineNames).names(ctx)


def get(ctx: Context, name: str) -> Trigger:
    """Return one trigger. Raises TriggerNotFound."""
    record = store.by_name(ctx.conn, name)
    if record is None:
        suggestions = nearest(name, [existing.trigger.name for existing in store.list_triggers(ctx.conn)])
        hint = (
            f"Did you mean {', '.join(suggestions)}?"
            if suggestions
            else "`tidemill triggers list` shows what there is."
        )
        raise TriggerNotFound(f"There is no trigger {name!r}.", hint=hint)
    return record.trigger


def list_triggers(ctx: Context) -> Page[Trigger]:
    """Return every trigger, by name."""
    return Page(items=[record.trigger for record in store.list_triggers(ctx.conn)])


def remove(ctx: Context, name: str) -> None:
    """Delete a trigger; its firings stay on record. Raises TriggerNotFound."""
    store.lock(ctx.conn, name)
    trigger = get(ctx, name)
    store.delete(ctx.conn, trigger.id)
    alerts.clear(ctx, f"trigger:{name}:ticket", why="The trigger was removed.")
    events.emit(ctx, "trigger.removed", trigger.id, {"name": name})


def list_firings(ctx: Context, name: str, *, cursor: str | None = None, limit: int = 50) -> Page[Firing]:
    """Return when a trigger fired and why, newest first. Raises TriggerNotFound."""
    return page(store.list_firings(ctx.conn, get(ctx, name).id, before=cursor, limit=limit + 1), limit)


def get_status(ctx: Context, name: str) -> TriggerStatus:
    """Return the status of a trigger. Raises TriggerNotFound."""
    return _build_status(ctx, get(ctx, name), alerts.list_unresolved(ctx))


def _build_status(ctx: Context, trigger: Trigger, unresolved: list[Alert]) -> TriggerStatus:
    last_firing = store.find_last_firing(ctx.conn, trigger.id)
    cooldown_end = last_firing.at + timedelta(seconds=trigger.cooldown_s) if last_firing is not None else None
    cooling_until = cooldown_end if cooldown_end is not None and cooldown_end > ctx.now else None
    spent = store.sum_spent_minutes(ctx.conn, trigger.id, _month_start(ctx.now))
    blocking_error = _blocking_error(trigger, cooling_until, spent) or _missing_pipeline(ctx, trigger)
    return TriggerStatus(
        trigger=trigger,
        at=ctx.now,
        data_condition=_data_condition(ctx, trigger, unresolved),
        quality_condition=_quality_condition(trigger, unresolved),
        cooling_until=cooling_until,
        spent_minutes=spent,
        held_by=blocking_error.message if blocking_error is not None else None,
    )


def _month_start(now: datetime) -> datetime:
    return now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _blocking_error(trigger: Trigger, cooling: datetime | None, spent: float) -> TidemillError | None:
    """Return the error that keeps the trigger from firing although its conditions are met: cooldown or budget."""
    if cooling is not None:
        return TriggerCooling(
            f"{trigger.name} fired less than {format_duration(trigger.cooldown_s)} ago.",
            hint=f"It may fire again at {cooling:%Y-%m-%d %H:%M:%S} UTC.",
        )
    if spent + trigger.expected_minutes > trigger.monthly_minutes:
        return TriggerOverBudget(
            f"{trigger.name} has used {spent:g} of {trigger.monthly_minutes:g} minutes this month; "
            f"a run is thought to take {trigger.expected_minutes:g}.",
            hint="Raise monthly_minutes, or wait for the next month.",
        )
    return None


def _missing_pipeline(ctx: Context, trigger: Trigger) -> TriggerPipelineMissing | None:
    """Return an error when the pipeline does not exist, else None."""
    pipelines = _pipeline_names(ctx)
    if trigger.pipeline in pipelines:
        return None
    suggestions = nearest(trigger.pipeline, pipelines)
    return TriggerPipelineMissing(
        f"{trigger.name} cannot start {trigger.pipeline!r}: there is no such pipeline.",
        hint=f"Did you mean {', '.join(suggestions)}?" if suggestions else "Apply it again, or remove the trigger.",
    )


def _data_condition(ctx: Context, trigger: Trigger, unresolved: list[Alert]) -> Condition:
    drifted = [alert for alert in unresolved if alert.kind == "drift" and alert.name in trigger.drift]
    reasons = [alert.title for alert in drifted]
    evidence = [_alert_evidence(alert) for alert in drifted]
    age = _data_age_evidence(ctx, trigger)
    if age is not None:
        reasons.append(age["title"])
        evidence.append(age)
    return Condition(met=bool(reasons), reasons=reasons, evidence=evidence)


def _data_age_evidence(ctx: Context, trigger: Trigger) -> dict[str, Any] | None:
    """Return the age of the dataset as evidence when it is too old."""
    if trigger.dataset is None or trigger.max_age_s is None:
        return None
    try:
        version = data.get_version(ctx, trigger.dataset)
    except DatasetNotFound:
        return None
    age = (ctx.now - version.created_at).total_seconds()
    if age <= trigger.max_age_s:
        return None
    title = f"{version.ref} is {age / 86400:.1f} days old; the limit is {format_duration(trigger.max_age_s)}"
    return {"kind": "data_age", "dataset_version": version.id, "age_s": age, "title": title}


def _quality_condition(trigger: Trigger, unresolved: list[Alert]) -> Condition:
    names_by_kind = {"slo": trigger.slos, "kpi": trigger.kpis}
    matching = [alert for alert in unresolved if alert.name in names_by_kind.get(alert.kind, [])]
    return Condition(
        met=bool(matching),
        reasons=[alert.title for alert in matching],
        evidence=[_alert_evidence(alert) for alert in matching],
    )


def _alert_evidence(alert: Alert) -> dict[str, Any]:
    fields = alert.model_dump(mode="json", include={"kind", "name", "severity", "title", "evidence"})
    times = {"opened_at": alert.opened_at.isoformat(), "seen_at": alert.seen_at.isoformat()}
    return {"alert_id": alert.id, **fields, **times}


def evaluate_all(ctx: Context) -> list[Firing]:
    """Fire every trigger whose conditions are both met, and return the firings.

    Called after every check, in its transaction. A trigger whose pipeline is gone has a firing that failed, once, and
    an alert until the pipeline is there again.
    """
    records = store.list_triggers(ctx.conn)
    unresolved = alerts.list_unresolved(ctx) if records else []
    firings = (_evaluate(ctx, record.trigger, record.held_by, unresolved) for record in records)
    return [firing for firing in firings if firing is not None]


def _evaluate(ctx: Context, trigger: Trigger, held_before: str | None, unresolved: list[Alert]) -> Firing | None:
    alerted = any(alert.kind == "trigger" and alert.name == trigger.name for alert in unresolved)
    if alerted and not _missing_pipeline(ctx, trigger):
        alerts.clear(ctx, f"trigger:{trigger.name}:ticket", why=f"{trigger.pipeline} is there again.")
    if not trigger.enabled or not _conditions_met(ctx, trigger, unresolved):
        return None
    # Of two servers or checks that come here at once, the second waits, and then sees the first one's firing.
    store.lock(ctx.conn, trigger.name)
    record = store.by_name(ctx.conn, trigger.name)
    if record is None or record.trigger != trigger:
        return None  # removed or changed a moment ago; the next check sees it as it is now
    current = _build_status(ctx, trigger, alerts.list_unresolved(ctx))
    if not (current.data_condition.met and current.quality_condition.met):
        return None
    held_by = current.held_by
    if held_by is None:
        try:
            # A listener may refuse. That must not take back the alert whose check led here.
            with ctx.conn.begin_nested():
                return _fire(ctx, current, [])
        except TidemillError as error:
            held_by = error.message
    elif (missing := _missing_pipeline(ctx, trigger)) is not None and held_by == missing.message:
        _record_misfire(ctx, current, missing)
    if held_before != held_by and current.cooling_until is None:
        store.put_held_by(ctx.conn, trigger.id, held_by)
        events.emit(ctx, HELD, trigger.id, {"name": trigger.name, "why": held_by})
    return None


def _record_misfire(ctx: Context, current: TriggerStatus, missing: TriggerPipelineMissing) -> None:
    """Record a failed firing once, and raise an alert until the pipeline exists again."""
    cause = AlertCause(
        kind="trigger",
        name=current.trigger.name,
        severity="ticket",
        title=missing.message,
        evidence={"pipeline": current.trigger.pipeline, "hint": missing.hint},
    )
    is_raised = alerts.is_raised(ctx, cause)
    alerts.raise_alert(ctx, cause)
    if not is_raised:
        store.insert_firing(ctx.conn, _build_firing(ctx, current, []).model_copy(update={"error": missing.message}))


def _conditions_met(ctx: Context, trigger: Trigger, unresolved: list[Alert]) -> bool:
    return _quality_condition(trigger, unresolved).met and _data_condition(ctx, trigger, unresolved).met


def fire(ctx: Context, name: str, body: ManualFire) -> Firing:
    """Fire by hand, which stands in for the quality condition, and return the firing.

    With `both` an admin fires without the data condition too; pause and budget hold all the same.
    Raises ConditionsNotMet, TriggerCooling, TriggerOverBudget, TriggerPipelineMissing, RoleMissing.
    """
    store.lock(ctx.conn, name)
    current = get_status(ctx, name)
    data_met = current.data_condition.met
    if body.both:
        require(ctx.actor, "admin")
    elif not data_met:
        raise ConditionsNotMet(
            f"The data condition of {name} is not met: no drift alert is open, and the data is not too old.",
            hint="An admin may fire it all the same: --both.",
            details={"drift": current.trigger.drift, "dataset": current.trigger.dataset},
        )
    blocking_error = _blocking_error(
        current.trigger, current.cooling_until, current.spent_minutes
    ) or _missing_pipeline(ctx, current.trigger)
    if blocking_error is not None:
        raise blocking_error
    without_data = body.both and not data_met
    person = {
        "kind": "person",
        "name": ctx.actor.name,
        "title": body.reason,
        "both_conditions": without_data,
        "both_keys": without_data,  # the name of 0.1.0, for one release
    }
    return _fire(ctx, current, [person])


def _fire(ctx: Context, current: TriggerStatus, persons: list[dict[str, Any]]) -> Firing:
    trigger, firing = current.trigger, _build_firing(ctx, current, persons)
    store.insert_firing(ctx.conn, firing)
    store.put_held_by(ctx.conn, trigger.id, None)
    message = NotificationMessage(
        what=FIRED,
        title=f"Trigger {firing.trigger} started {firing.pipeline}",
        lines=firing.reasons,
        data=firing.model_dump(mode="json"),
    )
    deliveries.enqueue_for(ctx, "ticket", message)
    fields = firing.model_dump(mode="json", include={"pipeline", "reasons", "evidence", "window", "expected_minutes"})
    events.emit(ctx, FIRED, trigger.id, {"firing_id": firing.id, "trigger": trigger.name, **fields})
    return firing


def _build_firing(ctx: Context, current: TriggerStatus, persons: list[dict[str, Any]]) -> Firing:
    trigger = current.trigger
    last_firing = store.find_last_firing(ctx.conn, trigger.id)
    oldest = ctx.now - timedelta(seconds=trigger.lookback_s)
    start = max(oldest, last_firing.window.end) if last_firing is not None else oldest
    conditions = (current.data_condition, current.quality_condition)
    return Firing(
        id=new_id("fir"),
        trigger_id=trigger.id,
        trigger=trigger.name,
        pipeline=trigger.pipeline,
        at=ctx.now,
        by=ctx.actor.name,
        reasons=[reason for condition in conditions for reason in condition.reasons]
        + [f"by hand: {person['title']}" for person in persons],
        evidence=[item for condition in conditions for item in condition.evidence] + persons,
        window=TrafficWindow(start=start, end=ctx.now),
        expected_minutes=trigger.expected_minutes,
        spent_minutes=None,
        run_id=None,
    )


def settle_firing(ctx: Context, firing_id: str, body: FiringSettle) -> Firing:
    """Write which run a firing became and how long that took, in place of what was expected. Raises FiringNotFound."""
    firing = store.find_firing(ctx.conn, firing_id)
    if firing is None:
        raise FiringNotFound(f"There is no firing {firing_id!r}.", hint="`tidemill triggers firings NAME` lists them.")
    changes = {"spent_minutes": body.minutes, "run_id": body.run_id or firing.run_id}
    store.update_firing(ctx.conn, firing_id, **changes)
    return firing.model_copy(update=changes)


def _on_check(ctx: Context, _event: Event) -> None:
    evaluate_all(ctx)


LISTENERS: dict[str, Sequence[Listener]] = {
    slos.CHECKED: (_on_check,),
    kpis.CHECKED: (_on_check,),
    drift.FOUND: (_on_check,),
    drift.NOT_FOUND: (_on_check,),
    drift.INCONCLUSIVE: (_on_check,),
}
"""The checks after which triggers are evaluated, in the transaction of the check."""
