"""Decide about online evaluators: what may run on live traffic, and what is stored of one page."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from tidemill.core import events, lineage
from tidemill.core.db import advisory_lock
from tidemill.core.errors import nearest
from tidemill.core.event_types import Event
from tidemill.core.kernel import Context, Listener
from tidemill.core.wire import Page, new_id
from tidemill.evals.online import store
from tidemill.evals.online.judge import DailyBudget, JudgedPage
from tidemill.evals.scorers import build
from tidemill.evals.types import (
    OnlineChange,
    OnlineCounts,
    OnlineCreate,
    OnlineEvaluator,
    OnlineExists,
    OnlineNotFound,
    ScorerInvalid,
)
from tidemill.feedback import service as feedback
from tidemill.feedback.targets import resolve_release, target_of_span
from tidemill.traces import service as traces


def create(ctx: Context, body: OnlineCreate) -> OnlineEvaluator:
    """Run a scorer on live traffic from now on. Raises PluginMissing, ScorerInvalid, OnlineExists,
    ReleaseUnknown."""
    _check(ctx, body)
    body = body.model_copy(update={"filter": resolve_release(ctx, body.filter)})
    advisory_lock(ctx.conn, f"online evaluator {body.name}")
    if store.by_name(ctx.conn, body.name) is not None:
        raise OnlineExists(
            f"There is already an online evaluator {body.name!r}.",
            hint="Change it with `tidemill evals online change`, delete it, or choose another name.",
            param="name",
        )
    evaluator = OnlineEvaluator(
        id=new_id("oev"),
        name=body.name,
        spec=body,
        state="active",
        counts=OnlineCounts(),
        day=None,
        judged_today=0,
        waiting=0,
        last_error=None,
        scored_at=None,
        created_at=ctx.now,
        created_by=ctx.actor.name,
    )
    store.insert(ctx.conn, evaluator, "" if body.from_start else traces.tail_end(ctx))
    events.emit(ctx, "online_evaluator.created", evaluator.id, body.model_dump(mode="json", exclude_none=True))
    return _with_releases(ctx, [evaluator])[0]


def _with_releases(ctx: Context, evaluators: Sequence[OnlineEvaluator]) -> list[OnlineEvaluator]:
    """Return the evaluators with the names of the releases that their filters know by id only."""
    release_ids = {one.id: ref for one in evaluators if (ref := one.spec.filter.release_id) is not None}
    names = lineage.labels(ctx.conn, release_ids.values())
    return [
        one.model_copy(update={"release": names.get(release_ids[one.id], release_ids[one.id])})
        if one.id in release_ids
        else one
        for one in evaluators
    ]


def _check(ctx: Context, body: OnlineCreate) -> None:
    scorer = build(ctx.kernel.plugins, body.scorer)
    if scorer.needs_expected and body.expected == "nothing":
        raise ScorerInvalid(
            f"{body.scorer.scorer} needs an expected answer, and live calls come without one.",
            hint="Score those that somebody has corrected: expected=correction (`--expected correction`); or use a "
            "scorer that needs none, such as json_schema or regex.",
            param="expected",
        )
    if not scorer.needs_expected and body.expected == "correction":
        raise ScorerInvalid(
            f"{body.scorer.scorer} needs no expected answer, so it need not wait for corrections.",
            hint="Leave `expected` out.",
            param="expected",
        )


def get(ctx: Context, name: str) -> OnlineEvaluator:
    """Return the evaluator of a name. Raises OnlineNotFound."""
    evaluator = store.by_name(ctx.conn, name)
    if evaluator is None:
        near = nearest(name, [e.name for e in store.list_evaluators(ctx.conn)])
        raise OnlineNotFound(
            f"There is no online evaluator {name!r}.",
            hint=f"Did you mean {', '.join(near)}?" if near else "`tidemill evals online list` shows what there is.",
        )
    return _with_releases(ctx, [evaluator])[0]


def list_evaluators(ctx: Context) -> Page[OnlineEvaluator]:
    """Return every evaluator on one page, sorted by name."""
    return Page(items=_with_releases(ctx, store.list_evaluators(ctx.conn)))


def change(ctx: Context, name: str, body: OnlineChange) -> OnlineEvaluator:
    """Pause, resume, or change share, budget or note. One that goes on begins where it stopped."""
    evaluator = _get_locked(ctx, name)
    changes = body.model_dump(exclude_none=True)
    spec = evaluator.spec.model_copy(update={k: v for k, v in changes.items() if k != "state"})
    # With more money it goes on today; whether that is enough, its next turn finds out.
    resumes_at = None if "usd_per_day" in changes else evaluator.resumes_at
    changed = evaluator.model_copy(
        update={"spec": spec, "state": body.state or evaluator.state, "resumes_at": resumes_at}
    )
    if changed != evaluator:
        store.change(
            ctx.conn, evaluator.id, spec=store.spec_values(spec), state=changed.state, resumes_at=changed.resumes_at
        )
        events.emit(ctx, "online_evaluator.changed", evaluator.id, changes)
    return changed


def _get_locked(ctx: Context, name: str) -> OnlineEvaluator:
    """Return the evaluator of a name, which no other transaction changes until this one ends. Raises OnlineNotFound."""
    store.lock(ctx.conn, get(ctx, name).id)
    return get(ctx, name)


def delete(ctx: Context, name: str) -> OnlineEvaluator:
    """Remove an evaluator. The scores it gave stay."""
    evaluator = _get_locked(ctx, name)
    store.delete(ctx.conn, evaluator.id)
    events.emit(ctx, "online_evaluator.deleted", evaluator.id, {"name": name})
    return evaluator


def queue_correction(ctx: Context, event: Event) -> None:
    """Listener of `feedback.corrected`: queue the correction for every evaluator that expects corrections."""
    waiting = [
        store.PendingCorrection(new_id("ocr"), evaluator.id, event.subject)
        for evaluator in store.list_evaluators(ctx.conn)
        if evaluator.spec.expected == "correction"
    ]
    store.add_corrections(ctx.conn, waiting, ctx.now)


def budget_left(evaluator: OnlineEvaluator, today: str) -> DailyBudget:
    """Return what remains of the evaluator's daily budget."""
    same = evaluator.day == today
    limit = evaluator.spec.usd_per_day
    return DailyBudget(
        judgements=max(0, evaluator.spec.per_day - (evaluator.judged_today if same else 0)),
        usd=None if limit is None else max(0.0, limit - (evaluator.spent_today if same else 0.0)),
    )


def record_page(
    ctx: Context, evaluator_id: str, before: str, after: str, page_result: JudgedPage, *, stopped: bool = False
) -> bool:
    """Write the scores of a page of the tail and move on, both or neither; `stopped`: the day's money is spent.

    False, and no score is written, when another process has read on from the same place, or the evaluator is gone.
    What judging has cost counts all the same.
    """
    if not store.advance_position(ctx.conn, evaluator_id, before, after):
        _spend(ctx, evaluator_id, page_result)
        return False
    _write(ctx, evaluator_id, page_result, stopped=stopped)
    return True


def record_corrections(
    ctx: Context, evaluator_id: str, waiting_ids: Sequence[str], page_result: JudgedPage, *, stopped: bool = False
) -> bool:
    """Write the scores that corrections led to and take these out of the queue, both or neither.

    False, and no score is written, when another process has taken one of them. What judging has cost counts all the
    same.
    """
    if store.lock(ctx.conn, evaluator_id) is None or not store.remove_pending(ctx.conn, waiting_ids):
        _spend(ctx, evaluator_id, page_result)
        return False
    _write(ctx, evaluator_id, page_result, stopped=stopped)
    return True


def record_error(ctx: Context, evaluator_id: str, message: str) -> None:
    """Store the message of the error that keeps an evaluator from going on."""
    store.change(ctx.conn, evaluator_id, last_error=message)


def _write(ctx: Context, evaluator_id: str, page_result: JudgedPage, *, stopped: bool) -> None:
    evaluator = store.lock(ctx.conn, evaluator_id)
    assert evaluator is not None
    verdicts = [(target_of_span(one.span), one.verdict) for one in page_result.judged if one.verdict is not None]
    feedback.upsert_scores(ctx, verdicts)
    errors = [one.error for one in page_result.judged if one.error is not None]
    used = _used(evaluator, ctx.now, len(verdicts) + len(errors), page_result.cost)
    # While the page was judged, somebody may have given it more money; sums of cents are not exact.
    limit = evaluator.spec.usd_per_day
    is_spent = stopped and limit is not None and used["spent_today"] >= limit * (1 - 1e-9)
    resumes_at = _tomorrow(ctx.now) if is_spent else None
    if resumes_at is not None:
        facts = {"name": evaluator.name, "usd_per_day": limit, "resumes_at": str(resumes_at)}
        events.emit(ctx, "online_evaluator.money_spent", evaluator.id, facts)
    changes = used | {"counts": evaluator.counts.plus(page_result.counts).model_dump(), "resumes_at": resumes_at}
    if errors:
        changes["last_error"] = errors[-1]
    if verdicts:
        changes["scored_at"] = ctx.now
    store.change(ctx.conn, evaluator.id, **changes)


def _spend(ctx: Context, evaluator_id: str, page_result: JudgedPage) -> None:
    evaluator = store.lock(ctx.conn, evaluator_id) if page_result.cost > 0 else None
    if evaluator is not None:
        store.change(ctx.conn, evaluator_id, **_used(evaluator, ctx.now, 0, page_result.cost))


def _used(evaluator: OnlineEvaluator, now: datetime, judgements: int, usd: float) -> dict[str, Any]:
    """Return the day's figures after `judgements` more and `usd` more spent."""
    today = now.date().isoformat()
    judged, spent = (evaluator.judged_today, evaluator.spent_today) if evaluator.day == today else (0, 0.0)
    return {"day": today, "judged_today": judged + judgements, "spent_today": spent + usd}


def _tomorrow(now: datetime) -> datetime:
    return (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)


LISTENERS: Mapping[str, Sequence[Listener]] = {feedback.CORRECTED: [queue_correction]}
"""The events that online evaluation listens to."""
