"""Scores and feedback: who may judge what, and which earlier judgement a new one replaces."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import JsonValue, ValidationError

from tidemill.core import events
from tidemill.core.actors import Actor
from tidemill.core.errors import TidemillError
from tidemill.core.kernel import Context, Kernel
from tidemill.core.value_faults import first_fault
from tidemill.core.web import page
from tidemill.core.wire import Page, new_id
from tidemill.feedback import store
from tidemill.feedback.targets import JudgedTarget, find_target, find_targets, resolve_release
from tidemill.feedback.types.scores import (
    BulkItem,
    BulkReply,
    Feedback,
    FeedbackBulk,
    FeedbackInvalid,
    FeedbackRefused,
    JudgedPairs,
    Score,
    ScoreCreate,
    ScoreFilter,
    ScoreNotFound,
    ScoreSeries,
    ScoreSource,
    ScoreUnit,
    SeriesKey,
    TargetUnknown,
)
from tidemill.traces.service import Mask, Masker

CORRECTED = "feedback.corrected"
"""The kind of the event for a correction of an answer. Its subject is the id of the score."""

_SERIES_POINTS = 20_000


@dataclass(frozen=True)
class Verdict:
    """The content of a judgement, and who gives it."""

    name: str
    source: ScoreSource
    author: str
    value: float | None = None
    label: str | None = None
    comment: str | None = None
    correction: JsonValue = None
    scorer: str | None = None


def give_feedback(ctx: Context, body: Feedback) -> Score:
    """Store a person's feedback. The same again changes nothing; other feedback of the same person replaces it.

    Masking rules apply to it as they do to spans.
    Raises TargetUnknown, and FeedbackRefused for a caller who is no annotator and did not make the call.
    """
    judged, verdict = _verdict(ctx, body, find_target(ctx, body), ctx.kernel.get(Masker).load_mask(ctx))
    return save_score(ctx, judged, verdict)


def _verdict(ctx: Context, body: Feedback, judged: JudgedTarget, mask: Mask) -> tuple[JudgedTarget, Verdict]:
    _check_allowed(ctx, judged)
    user = mask.pseudonymize(body.user) if body.user is not None else None
    verdict = Verdict(
        name=body.name,
        source="person",
        author=user or ctx.actor.name,
        value=body.value,
        label=mask.mask_text(body.label) if body.label is not None else None,
        comment=mask.mask_text(body.comment) if body.comment is not None else None,
        correction=mask.mask_value(body.correction),
    )
    return judged.with_user(user), verdict


def give_feedback_bulk(kernel: Kernel, actor: Actor, body: FeedbackBulk) -> BulkReply:
    """Store many; a fault of one item is the result of that item and affects no other.

    The calls are looked up before the transaction that writes, which is short.
    """
    results: dict[int, BulkItem] = {}
    with kernel.read(actor) as ctx:
        verdicts = _read_items(ctx, body, results)
    with kernel.write(actor) as ctx:
        scores = save_scores(ctx, list(verdicts.values()))
    results |= {index: BulkItem(score=score, error=None) for index, score in zip(verdicts, scores, strict=True)}
    items = [results[index] for index in range(len(body.items))]
    return BulkReply(kept=len(scores), refused=len(items) - len(scores), items=items)


def _read_items(
    ctx: Context, body: FeedbackBulk, results: dict[int, BulkItem]
) -> dict[int, tuple[JudgedTarget, Verdict]]:
    """Return index -> the verdict to store; faults go into `results`."""
    items: dict[int, Feedback] = {}
    for index, item in enumerate(body.items):
        try:
            items[index] = Feedback.model_validate(item)
        except ValidationError as error:
            results[index] = BulkItem(score=None, error=_invalid(error).body())
    mask = ctx.kernel.get(Masker).load_mask(ctx)
    verdicts: dict[int, tuple[JudgedTarget, Verdict]] = {}
    for (index, feedback), judged in zip(items.items(), find_targets(ctx, list(items.values())), strict=True):
        try:
            if isinstance(judged, TargetUnknown):
                raise judged
            verdicts[index] = _verdict(ctx, feedback, judged, mask)
        except TidemillError as error:
            results[index] = BulkItem(score=None, error=error.body())
    return verdicts


def _invalid(error: ValidationError) -> FeedbackInvalid:
    where, why = first_fault(error)
    return FeedbackInvalid(f"{where}: {why}." if where else f"{why}.", param=where or None)


def _check_allowed(ctx: Context, judged: JudgedTarget) -> None:
    own = judged.key_id is not None and judged.key_id == ctx.actor.key_id
    if not own and not ctx.actor.has("annotator"):
        raise FeedbackRefused(
            f"{ctx.actor.name} has no role annotator, and this call was made with another key.",
            hint="Send feedback with the key that made the call, or ask an admin for the role annotator.",
        )


def record_score(ctx: Context, body: ScoreCreate) -> Score:
    """Store a score that code or a model outside gives. Raises TargetUnknown."""
    verdict = Verdict(
        name=body.name,
        source=body.source,
        author=body.scorer or ctx.actor.name,
        value=body.score,
        label=body.label,
        comment=body.comment,
        correction=body.correction,
        scorer=body.scorer,
    )
    return save_score(ctx, find_target(ctx, body), verdict)


def save_score(ctx: Context, judged: JudgedTarget, verdict: Verdict) -> Score:
    """Store a verdict, over the one that its author gave before; return the score."""
    return save_scores(ctx, [(judged, verdict)])[0]


def save_scores(ctx: Context, verdicts: Sequence[tuple[JudgedTarget, Verdict]]) -> list[Score]:
    """Store verdicts, each over the one that its author gave before; return the scores. Equal ones stay as they are."""
    scores = _scores(ctx, verdicts)
    existing = store.find_existing(ctx.conn, scores)
    changed = [score for score in scores if not _equal(score, existing.get(store.unique_key(score)))]
    store.upsert(ctx.conn, changed)
    written = store.find_existing(ctx.conn, changed) if changed else {}
    for score in changed:
        key = store.unique_key(score)
        earlier = existing.get(key)
        if score.correction is not None and (earlier is None or earlier.correction != score.correction):
            details = {"trace_id": score.trace_id, "name": score.name, "author": score.author}
            events.emit(ctx, CORRECTED, written[key].id, details)
    stored = existing | written
    return [stored[store.unique_key(score)] for score in scores]


def _equal(score: Score, before: Score | None) -> bool:
    return before is not None and score.model_copy(update={"id": before.id, "at": before.at}) == before


def upsert_scores(ctx: Context, verdicts: Sequence[tuple[JudgedTarget, Verdict]]) -> None:
    """Store many verdicts without corrections, each over the one that its author gave before. Reads nothing."""
    store.upsert(ctx.conn, _scores(ctx, verdicts))


def _scores(ctx: Context, verdicts: Sequence[tuple[JudgedTarget, Verdict]]) -> list[Score]:
    """Return verdicts as scores; where no contents are stored, without what was written in them."""
    if not ctx.kernel.get(Masker).content:
        verdicts = [(judged, replace(verdict, comment=None, correction=None)) for judged, verdict in verdicts]
    return [_score(ctx, judged, verdict) for judged, verdict in verdicts]


def _score(ctx: Context, judged: JudgedTarget, verdict: Verdict) -> Score:
    return Score(
        id=new_id("sc"),
        trace_id=judged.trace_id,
        span_id=judged.span_id,
        response_id=judged.response_id,
        name=verdict.name,
        value=verdict.value,
        label=verdict.label,
        comment=verdict.comment,
        correction=verdict.correction,
        source=verdict.source,
        scorer=verdict.scorer,
        author=verdict.author,
        recorded_by=ctx.actor.name,
        at=ctx.now,
        release_id=judged.release_id,
        environment=judged.environment,
        deployment_id=judged.deployment_id,
        model=judged.model,
        user=judged.user,
        session=judged.session,
        span_start=judged.start,
    )


def get_score(ctx: Context, score_id: str) -> Score:
    """Return a score. Raises ScoreNotFound."""
    score = store.get(ctx.conn, score_id)
    if score is None:
        raise ScoreNotFound(f"There is no score {score_id!r}.", hint="`tidemill scores list` shows what there is.")
    return score


def delete_score(ctx: Context, score_id: str) -> Score:
    """Delete a score: one's own, or anybody's with the role developer. Raises ScoreNotFound, FeedbackRefused."""
    score = get_score(ctx, score_id)
    if score.recorded_by != ctx.actor.name and not ctx.actor.has("developer"):
        raise FeedbackRefused(
            f"The score {score_id} was given by {score.recorded_by}.", hint="Only a developer deletes those of others."
        )
    store.delete(ctx.conn, score_id)
    events.emit(ctx, "score.deleted", score_id, score.model_dump(mode="json", include={"trace_id", "name", "author"}))
    return score


def delete_by_span_start(ctx: Context, since: datetime | None, until: datetime) -> int:
    """Delete the scores of spans that began in [since, until), unless `trace_keep_scores` is set; return how many."""
    return 0 if ctx.kernel.settings.trace_keep_scores else store.delete_by_span_start(ctx.conn, since, until)


def list_score_page(ctx: Context, where: ScoreFilter, *, cursor: str | None = None, limit: int = 50) -> Page[Score]:
    """Return a page of scores, newest first. Raises ReleaseUnknown."""
    resolved = resolve_release(ctx, where)
    return page(store.list_page(ctx.conn, resolved, before=cursor, limit=limit + 1), limit)


def list_scores(
    ctx: Context,
    *,
    name: str | None = None,
    release_id: str | None = None,
    environment: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    source: ScoreSource | None = None,
    after: str | None = None,
    limit: int = 10_000,
    **more: Any,
) -> list[Score]:
    """Return scores, oldest first, with ids after `after`. `since` and `until` are about when the answer was given.

    `more` are the other fields of ScoreFilter, such as `deployment_id`, `model`, `user` or `corrected`.
    """
    where = ScoreFilter(
        name=name,
        release_id=release_id,
        environment=environment,
        since=since,
        until=until,
        source=source,
        **more,
    )
    return store.list_scores(ctx.conn, where, after=after, limit=limit)


def list_trace_scores(ctx: Context, trace_ids: Sequence[str], *, source: ScoreSource | None = None) -> list[Score]:
    """Return every score of some traces and their spans, in the order they were given."""
    return store.list_by_traces(ctx.conn, list(trace_ids), source=source)


def list_score_names(ctx: Context) -> list[str]:
    """Return every name that a score has."""
    return store.list_names(ctx.conn)


def get_score_series(
    ctx: Context, where: ScoreFilter, *, by: SeriesKey = "release", bucket: timedelta = timedelta(hours=1)
) -> ScoreSeries:
    """Return scores by buckets of time (one minute at least), key and name. Raises ReleaseUnknown."""
    seconds = max(60, int(bucket.total_seconds()))
    points = store.get_series(ctx.conn, resolve_release(ctx, where), by=by, seconds=seconds, limit=_SERIES_POINTS)
    return ScoreSeries(bucket_seconds=seconds, points=points)


def count_passing(ctx: Context, where: ScoreFilter, threshold: float) -> tuple[int, int]:
    """Return how many scores have a value, and how many of these are at least `threshold`."""
    return store.count_passing(ctx.conn, where, threshold)


def sum_judged_pairs(ctx: Context, where: ScoreFilter, threshold: float) -> JudgedPairs:
    """Return how people judge, under the same name, the answers that a model judged."""
    return store.sum_judged_pairs(ctx.conn, where, threshold)


def sum_scores_by_unit(
    ctx: Context, where: ScoreFilter, *, by_release: bool = False, step: timedelta | None = None
) -> list[ScoreUnit]:
    """Return sums of values by user, else session, else trace, for intervals that allow for a user's alike scores."""
    seconds = max(60, int(step.total_seconds())) if step is not None else None
    return store.sum_by_unit(ctx.conn, where, by_release=by_release, seconds=seconds)
