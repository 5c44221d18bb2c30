"""Triggers: two keys, a pause, a budget. Firing is one fact, `trigger.fired`, which the pipelines listen to."""

from datetime import datetime, timedelta
from typing import Any

from tidemill.access.service import require
from tidemill.core import events
from tidemill.core.errors import TidemillError, nearest
from tidemill.core.kernel import Context
from tidemill.core.web import page
from tidemill.core.wire import Page, new_id
from tidemill.data import service as data
from tidemill.data.types import DatasetNotFound
from tidemill.monitors import alerts, notifiers
from tidemill.monitors.drift import service as drift
from tidemill.monitors.lengths import span
from tidemill.monitors.store import alerts as alert_store
from tidemill.monitors.store import objectives
from tidemill.monitors.store import triggers as store
from tidemill.monitors.types import (
    Alert,
    Cause,
    Firing,
    FiringNotFound,
    FiringSettle,
    Hand,
    Key,
    KeysMissing,
    Pipelines,
    TrafficWindow,
    Trigger,
    TriggerCooling,
    TriggerIncomplete,
    TriggerNotFound,
    TriggerOverBudget,
    TriggerPointless,
    TriggerPut,
    TriggerStatus,
)

FIRED, HELD = "trigger.fired", "trigger.held"


def put(ctx: Context, name: str, body: TriggerPut) -> Trigger:
    """Make or change a trigger.

    Raises TriggerIncomplete, DriftMonitorNotFound when a key is not watched or the pipeline is not there.
    """
    _check_names(ctx, body)
    store.lock(ctx.conn, name)
    known = store.by_name(ctx.conn, name)
    spec = body.model_dump(mode="json")
    if known is not None and known["spec"] == spec:
        return _trigger(known)
    row: dict[str, Any] = {
        "id": known["id"] if known is not None else new_id("trg"),
        "name": name,
        "spec": spec,
        "saved_by": ctx.actor.name,
        "saved_at": ctx.now,
        "held_by": None,
    }
    store.put(ctx.conn, row)
    events.emit(ctx, "trigger.saved", row["id"], {"name": name, **spec})
    return _trigger(row)


def _check_names(ctx: Context, body: TriggerPut) -> None:
    # A key with a typing error in it would never turn, and nobody would know.
    known = {
        "slos": [row["name"] for row in objectives.listing(ctx.conn, "slo")],
        "kpis": [row["name"] for row in objectives.listing(ctx.conn, "kpi")],
    }
    known_pipelines = _pipelines(ctx)
    if body.pipeline not in known_pipelines:
        near = nearest(body.pipeline, known_pipelines)
        hint = f"Did you mean {', '.join(near)}?" if near else "Apply it first: tidemill apply"
        raise TriggerIncomplete(f"pipeline: there is no pipeline {body.pipeline!r}.", hint=hint, param="pipeline")
    for name in body.drift:
        drift.get_monitor(ctx, name)
    for field, names in known.items():
        for name in getattr(body, field):
            if name not in names:
                near = nearest(name, names)
                hint = f"Did you mean {', '.join(near)}?" if near else "`tidemill monitors list` shows what is watched."
                raise TriggerIncomplete(f"{field}: nothing called {name!r} is watched.", hint=hint, param=field)


def _pipelines(ctx: Context) -> list[str]:
    return ctx.kernel.get(Pipelines).names(ctx)


def _trigger(row: dict[str, Any]) -> Trigger:
    kept = {key: row[key] for key in ("id", "name", "saved_by", "saved_at")}
    return Trigger.model_validate(row["spec"] | kept)


def _row(ctx: Context, name: str) -> dict[str, Any]:
    row = store.by_name(ctx.conn, name)
    if row is None:
        near = nearest(name, [known["name"] for known in store.listing(ctx.conn)])
        hint = f"Did you mean {', '.join(near)}?" if near else "`tidemill triggers list` shows what there is."
        raise TriggerNotFound(f"There is no trigger {name!r}.", hint=hint)
    return row


def get(ctx: Context, name: str) -> Trigger:
    """One trigger. Raises TriggerNotFound."""
    return _trigger(_row(ctx, name))


def listing(ctx: Context) -> Page[Trigger]:
    """Every trigger, by name."""
    return Page(items=[_trigger(row) for row in store.listing(ctx.conn)])


def remove(ctx: Context, name: str) -> None:
    """Fire no more. What it fired stays on record. Raises TriggerNotFound."""
    row = _row(ctx, name)
    alerts.clear(ctx, f"trigger:{name}:ticket", why="The trigger was removed.")
    store.delete(ctx.conn, row["id"])
    events.emit(ctx, "trigger.removed", row["id"], {"name": name})


def firings(ctx: Context, name: str, *, cursor: str | None = None, limit: int = 50) -> Page[Firing]:
    """When a trigger fired and why, newest first. Raises TriggerNotFound."""
    return page(store.firings_of(ctx.conn, _row(ctx, name)["id"], before=cursor, limit=limit + 1), limit)


def status(ctx: Context, name: str) -> TriggerStatus:
    """Where a trigger stands. Raises TriggerNotFound."""
    return _status(ctx, get(ctx, name), alert_store.unresolved(ctx.conn))


def _status(ctx: Context, trigger: Trigger, standing: list[Alert]) -> TriggerStatus:
    last = store.last(ctx.conn, trigger.id)
    until = last.at + timedelta(seconds=trigger.cooldown_s) if last is not None else None
    cooling = until if until is not None and until > ctx.now else None
    spent = store.spent(ctx.conn, trigger.id, _month(ctx.now))
    held = _obstacle(trigger, cooling, spent) or _pointless(ctx, trigger)
    return TriggerStatus(
        trigger=trigger,
        at=ctx.now,
        keys=[_first_key(ctx, trigger, standing), _second_key(trigger, standing)],
        cooling_until=cooling,
        spent_minutes=spent,
        held_by=held.message if held is not None else None,
    )


def _month(now: datetime) -> datetime:
    return now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _obstacle(trigger: Trigger, cooling: datetime | None, spent: float) -> TidemillError | None:
    """What forbids firing although the keys are turned."""
    if cooling is not None:
        return TriggerCooling(
            f"{trigger.name} fired less than {span(trigger.cooldown_s)} ago.",
            hint=f"It may fire again at {cooling:%Y-%m-%d %H:%M:%S} UTC.",
        )
    if spent + trigger.expected_minutes > trigger.monthly_minutes:
        return TriggerOverBudget(
            f"{trigger.name} has used {spent:g} of {trigger.monthly_minutes:g} minutes this month; "
            f"a run is thought to take {trigger.expected_minutes:g}.",
            hint="Raise monthly_minutes, or wait for the next month.",
        )
    return None


def _pointless(ctx: Context, trigger: Trigger) -> TriggerPointless | None:
    """Why there is nothing to start."""
    known = _pipelines(ctx)
    if trigger.pipeline in known:
        return None
    near = nearest(trigger.pipeline, known)
    return TriggerPointless(
        f"{trigger.name} cannot start {trigger.pipeline!r}: there is no such pipeline.",
        hint=f"Did you mean {', '.join(near)}?" if near else "Apply it again, or remove the trigger.",
    )


def _first_key(ctx: Context, trigger: Trigger, standing: list[Alert]) -> Key:
    drifted = [a for a in standing if a.kind == "drift" and a.name in trigger.drift]
    reasons = [alert.title for alert in drifted]
    evidence = [_quoted(alert) for alert in drifted]
    age = _age(ctx, trigger)
    if age is not None:
        reasons.append(age["title"])
        evidence.append(age)
    return Key(number=1, turned=bool(reasons), reasons=reasons, evidence=evidence)


def _age(ctx: Context, trigger: Trigger) -> dict[str, Any] | None:
    """The age of the dataset when it is too old."""
    if trigger.dataset is None or trigger.max_age_s is None:
        return None
    try:
        version = data.get_version(ctx, trigger.dataset)
    except DatasetNotFound:
        return None
    age = (ctx.now - version.created_at).total_seconds()
    if age <= trigger.max_age_s:
        return None
    title = f"{version.ref} is {age / 86400:.1f} days old; the limit is {span(trigger.max_age_s)}"
    return {"kind": "data_age", "dataset_version": version.id, "age_s": age, "title": title}


def _second_key(trigger: Trigger, standing: list[Alert]) -> Key:
    named = {"slo": trigger.slos, "kpi": trigger.kpis}
    found = [a for a in standing if a.name in named.get(a.kind, [])]
    return Key(
        number=2, turned=bool(found), reasons=[a.title for a in found], evidence=[_quoted(alert) for alert in found]
    )


def _quoted(alert: Alert) -> dict[str, Any]:
    kept = alert.model_dump(mode="json", include={"kind", "name", "severity", "title", "evidence"})
    times = {"opened_at": alert.opened_at.isoformat(), "seen_at": alert.seen_at.isoformat()}
    return {"alert_id": alert.id, **kept, **times}


def look_at_all(ctx: Context) -> list[Firing]:
    """Fire every trigger whose keys are both turned. Called after every check, in its transaction.

    One whose pipeline is gone has a firing that failed, once, and an alert until the pipeline is there again.
    """
    rows = store.listing(ctx.conn)
    standing = alert_store.unresolved(ctx.conn) if rows else []
    fired = []
    for row in rows:
        trigger = _trigger(row)
        if any(a.kind == "trigger" and a.name == trigger.name for a in standing) and not _pointless(ctx, trigger):
            alerts.clear(ctx, f"trigger:{trigger.name}:ticket", why=f"{trigger.pipeline} is there again.")
        if not trigger.enabled or not _turned(ctx, trigger, standing):
            continue
        # Of two servers or checks that come here at once, the second waits, and then sees the first one's firing.
        store.lock(ctx.conn, trigger.name)
        now = _status(ctx, trigger, alert_store.unresolved(ctx.conn))
        if not all(key.turned for key in now.keys):
            continue
        held_by = now.held_by
        if held_by is None:
            try:
                # What listens may refuse. That must not take back the alert whose check brought us here.
                with ctx.conn.begin_nested():
                    fired.append(_fire(ctx, now, []))
            except TidemillError as error:
                held_by = error.message
        elif (gone := _pointless(ctx, trigger)) is not None and held_by == gone.message:
            _misfire(ctx, now, gone)
        if held_by is not None and row["held_by"] != held_by and now.cooling_until is None:
            store.update(ctx.conn, trigger.id, held_by=held_by)
            events.emit(ctx, HELD, trigger.id, {"name": trigger.name, "why": held_by})
    return fired


def _misfire(ctx: Context, now: TriggerStatus, gone: TriggerPointless) -> None:
    """Both keys are turned and nothing is there to start: on record once, and an alert for as long as it is so."""
    cause = Cause(
        kind="trigger",
        name=now.trigger.name,
        severity="ticket",
        title=gone.message,
        evidence={"pipeline": now.trigger.pipeline, "hint": gone.hint},
    )
    known = alert_store.standing(ctx.conn, cause.key)
    alerts.raise_(ctx, cause)
    if known is None:
        store.insert_firing(ctx.conn, _firing(ctx, now, []).model_copy(update={"error": gone.message}))


def _turned(ctx: Context, trigger: Trigger, standing: list[Alert]) -> bool:
    return _second_key(trigger, standing).turned and _first_key(ctx, trigger, standing).turned


def turn(ctx: Context, name: str, body: Hand) -> Firing:
    """A person's hand is the second key.

    Raises KeysMissing, TriggerCooling, TriggerOverBudget, TriggerPointless, RoleMissing.

    With `both` an admin turns the first key too; pause and budget hold all the same.
    """
    store.lock(ctx.conn, name)
    now = status(ctx, name)
    first = now.keys[0]
    if body.both:
        require(ctx.actor, "admin")
    elif not first.turned:
        raise KeysMissing(
            f"The first key of {name} is not turned: no drift alert stands, and the data is not too old.",
            hint="An admin may turn both: --both.",
            details={"drift": now.trigger.drift, "dataset": now.trigger.dataset},
        )
    obstacle = _obstacle(now.trigger, now.cooling_until, now.spent_minutes) or _pointless(ctx, now.trigger)
    if obstacle is not None:
        raise obstacle
    hand = {"kind": "person", "name": ctx.actor.name, "title": body.reason, "both_keys": body.both and not first.turned}
    return _fire(ctx, now, [hand])


def _fire(ctx: Context, now: TriggerStatus, hands: list[dict[str, Any]]) -> Firing:
    trigger, firing = now.trigger, _firing(ctx, now, hands)
    store.insert_firing(ctx.conn, firing)
    store.update(ctx.conn, trigger.id, held_by=None)
    notifiers.tell_fired(ctx, firing)
    facts = firing.model_dump(mode="json", include={"pipeline", "reasons", "evidence", "window", "expected_minutes"})
    events.emit(ctx, FIRED, trigger.id, {"firing_id": firing.id, "trigger": trigger.name, **facts})
    return firing


def _firing(ctx: Context, now: TriggerStatus, hands: list[dict[str, Any]]) -> Firing:
    trigger = now.trigger
    last = store.last(ctx.conn, trigger.id)
    oldest = ctx.now - timedelta(seconds=trigger.lookback_s)
    start = max(oldest, last.window.end) if last is not None else oldest
    return Firing(
        id=new_id("fir"),
        trigger_id=trigger.id,
        trigger=trigger.name,
        pipeline=trigger.pipeline,
        at=ctx.now,
        by=ctx.actor.name,
        reasons=[reason for key in now.keys for reason in key.reasons] + [f"by hand: {h['title']}" for h in hands],
        evidence=[item for key in now.keys for item in key.evidence] + hands,
        window=TrafficWindow(start=start, end=ctx.now),
        expected_minutes=trigger.expected_minutes,
        spent_minutes=None,
        run_id=None,
    )


def settle(ctx: Context, firing_id: str, body: FiringSettle) -> Firing:
    """Say which run a firing became and what that took, in place of what was expected. Raises FiringNotFound."""
    found = store.firing(ctx.conn, firing_id)
    if found is None:
        raise FiringNotFound(f"There is no firing {firing_id!r}.", hint="`tidemill triggers firings NAME` lists them.")
    changes = {"spent_minutes": body.minutes, "run_id": body.run_id or found.run_id}
    store.update_firing(ctx.conn, firing_id, **changes)
    return found.model_copy(update=changes)
