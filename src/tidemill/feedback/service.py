"""Deciding about scores: what is judged, who may judge, what an earlier judgement gives way to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import JsonValue, ValidationError

from tidemill.core import events
from tidemill.core.actors import Actor
from tidemill.core.errors import TidemillError, first_fault
from tidemill.core.kernel import Context, Kernel
from tidemill.core.web import page
from tidemill.core.wire import Page, new_id
from tidemill.feedback import store
from tidemill.feedback.targets import Judged, by_release_id, find, find_all
from tidemill.feedback.types.scores import (
    BulkItem,
    BulkReply,
    Feedback,
    FeedbackBulk,
    FeedbackInvalid,
    FeedbackRefused,
    Score,
    ScoreCreate,
    ScoreFilter,
    ScoreNotFound,
    ScoreSeries,
    ScoreSource,
    SeriesKey,
    TargetUnknown,
)
from tidemill.traces.service import Mask, Masker

CORRECTED = "feedback.corrected"
"""The fact that somebody said what an answer should have been. Its subject is the id of the score."""

_SERIES_POINTS = 20_000


@dataclass(frozen=True)
class Verdict:
    """What is said, whoever says it."""

    name: str
    source: ScoreSource
    author: str
    value: float | None = None
    label: str | None = None
    comment: str | None = None
    correction: JsonValue = None
    scorer: str | None = None


def give_feedback(ctx: Context, body: Feedback) -> Score:
    """Keep what a person says. The same again changes nothing; something else from the same person replaces it.

    Masking rules take out of it what they take out of spans.
    Raises TargetUnknown, and FeedbackRefused for a caller who is no annotator and did not make the call.
    """
    judged, verdict = _verdict(ctx, body, find(ctx, body), ctx.kernel.get(Masker).load_mask(ctx))
    return keep(ctx, judged, verdict)


def _verdict(ctx: Context, body: Feedback, judged: Judged, mask: Mask) -> tuple[Judged, Verdict]:
    _allow(ctx, judged)
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
    return judged.of(user), verdict


def give_feedback_bulk(kernel: Kernel, actor: Actor, body: FeedbackBulk) -> BulkReply:
    """Keep many; what is wrong with one item is the answer to that item and keeps back no other.

    The calls are looked up before the transaction that writes, which is short.
    """
    answers: dict[int, BulkItem] = {}
    with kernel.read(actor) as ctx:
        said = _read(ctx, body, answers)
    with kernel.write(actor) as ctx:
        kept = keep_all(ctx, list(said.values()))
    answers |= {place: BulkItem(score=score, error=None) for place, score in zip(said, kept, strict=True)}
    items = [answers[place] for place in range(len(body.items))]
    return BulkReply(kept=len(kept), refused=len(items) - len(kept), items=items)


def _read(ctx: Context, body: FeedbackBulk, answers: dict[int, BulkItem]) -> dict[int, tuple[Judged, Verdict]]:
    """Place -> what is to be kept; what is wrong goes into `answers`."""
    items: dict[int, Feedback] = {}
    for place, item in enumerate(body.items):
        try:
            items[place] = Feedback.model_validate(item)
        except ValidationError as error:
            answers[place] = BulkItem(score=None, error=_invalid(error).body())
    mask = ctx.kernel.get(Masker).load_mask(ctx)
    said: dict[int, tuple[Judged, Verdict]] = {}
    for (place, read), judged in zip(items.items(), find_all(ctx, list(items.values())), strict=True):
        try:
            if isinstance(judged, TargetUnknown):
                raise judged
            said[place] = _verdict(ctx, read, judged, mask)
        except TidemillError as error:
            answers[place] = BulkItem(score=None, error=error.body())
    return said


def _invalid(error: ValidationError) -> FeedbackInvalid:
    where, why = first_fault(error)
    return FeedbackInvalid(f"{where}: {why}." if where else f"{why}.", param=where or None)


def _allow(ctx: Context, judged: Judged) -> None:
    own = judged.key_id is not None and judged.key_id == ctx.actor.key_id
    if not own and not ctx.actor.has("annotator"):
        raise FeedbackRefused(
            f"{ctx.actor.name} has no role annotator, and this call was made with another key.",
            hint="Send feedback with the key that made the call, or ask an admin for the role annotator.",
        )


def record(ctx: Context, body: ScoreCreate) -> Score:
    """Keep what code or a model outside says. Raises TargetUnknown."""
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
    return keep(ctx, find(ctx, body), verdict)


def keep(ctx: Context, judged: Judged, verdict: Verdict) -> Score:
    """Write a verdict, over the one that its author gave before."""
    return keep_all(ctx, [(judged, verdict)])[0]


def keep_all(ctx: Context, said: Sequence[tuple[Judged, Verdict]]) -> list[Score]:
    """Write verdicts, each over the one that its author gave before; what says the same again stays as it is."""
    made = [_score(ctx, judged, verdict) for judged, verdict in said]
    before = store.same(ctx.conn, made)
    changed = [score for score in made if not _equal(score, before.get(store.key_of(score)))]
    store.put(ctx.conn, changed)
    after = store.same(ctx.conn, changed) if changed else {}
    for score in changed:
        key = store.key_of(score)
        old = before.get(key)
        if score.correction is not None and (old is None or old.correction != score.correction):
            told = {"trace_id": score.trace_id, "name": score.name, "author": score.author}
            events.emit(ctx, CORRECTED, after[key].id, told)
    kept = before | after
    return [kept[store.key_of(score)] for score in made]


def _equal(score: Score, before: Score | None) -> bool:
    return before is not None and score.model_copy(update={"id": before.id, "at": before.at}) == before


def keep_many(ctx: Context, said: Sequence[tuple[Judged, Verdict]]) -> None:
    """Write many verdicts without corrections and without looking, each over the one that its author gave before."""
    store.put(ctx.conn, [_score(ctx, judged, verdict) for judged, verdict in said])


def _score(ctx: Context, judged: Judged, verdict: Verdict) -> Score:
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
    """One score. Raises ScoreNotFound."""
    score = store.by_id(ctx.conn, score_id)
    if score is None:
        raise ScoreNotFound(f"There is no score {score_id!r}.", hint="`tidemill scores list` shows what there is.")
    return score


def delete_score(ctx: Context, score_id: str) -> Score:
    """Take a score back: one's own, or anybody's with the role developer. Raises ScoreNotFound, FeedbackRefused."""
    score = get_score(ctx, score_id)
    if score.recorded_by != ctx.actor.name and not ctx.actor.has("developer"):
        raise FeedbackRefused(
            f"The score {score_id} was given by {score.recorded_by}.", hint="Only a developer takes others' back."
        )
    store.delete(ctx.conn, score_id)
    events.emit(ctx, "score.deleted", score_id, score.model_dump(mode="json", include={"trace_id", "name", "author"}))
    return score


def delete_begun(ctx: Context, since: datetime | None, until: datetime) -> int:
    """Remove the scores of spans that began in [since, until), unless `trace_keep_scores` is set; returns how many."""
    return 0 if ctx.kernel.settings.trace_keep_scores else store.delete_begun(ctx.conn, since, until)


def page_of_scores(ctx: Context, wanted: ScoreFilter, *, cursor: str | None = None, limit: int = 50) -> Page[Score]:
    """Scores, newest first."""
    asked = by_release_id(ctx, wanted)
    return page(store.page(ctx.conn, asked, before=cursor, limit=limit + 1), limit)


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
    """Scores, oldest first, with ids after `after`. `since` and `until` are about when the answer was given.

    `more` are the other fields of ScoreFilter, such as `deployment_id`, `model`, `user` or `corrected`.
    """
    wanted = ScoreFilter(
        name=name,
        release_id=release_id,
        environment=environment,
        since=since,
        until=until,
        source=source,
        **more,
    )
    return store.listing(ctx.conn, wanted, after=after, limit=limit)


def scores_of_traces(ctx: Context, trace_ids: Sequence[str], *, source: ScoreSource | None = None) -> list[Score]:
    """Every score of some traces and their spans, in the order they were given."""
    return store.of_traces(ctx.conn, list(trace_ids), source=source)


def score_names(ctx: Context) -> list[str]:
    """Every name that a score goes by."""
    return store.names(ctx.conn)


def score_series(
    ctx: Context, wanted: ScoreFilter, *, by: SeriesKey = "release", bucket: timedelta = timedelta(hours=1)
) -> ScoreSeries:
    """A KPI over time: scores by stretches of `bucket` (one minute at least), key and name."""
    seconds = max(60, int(bucket.total_seconds()))
    points = store.series(ctx.conn, by_release_id(ctx, wanted), by=by, seconds=seconds, limit=_SERIES_POINTS)
    return ScoreSeries(bucket_seconds=seconds, points=points)


def count_passing(ctx: Context, wanted: ScoreFilter, least: float) -> tuple[int, int]:
    """How many scores have a value, and how many of these are at least `least`."""
    return store.passing(ctx.conn, wanted, least)


@dataclass(frozen=True)
class JudgedPairs:
    """Sums over answers that a model and people have judged; each judgement is 1 for passing, else 0."""

    count: int
    people: float
    people_squares: float
    model: float
    both: float
    """Of the products."""
    disagreements: float


def judged_by_both(ctx: Context, wanted: ScoreFilter, least: float) -> JudgedPairs:
    """How people judge, under the same name, the answers that a model judged."""
    row = store.judged_by_both(ctx.conn, wanted, least)
    sums = (float(figure) for figure in (row.people, row.people_squares, row.model, row.both, row.apart))
    return JudgedPairs(int(row.n), *sums)


@dataclass(frozen=True)
class ScoreUnit:
    """The scores of one user, else one session, else one trace: they are not independent of each other."""

    t: datetime
    """Begin of the stretch of time; the epoch when time is not cut."""
    release_id: str | None
    count: int
    total: float
    binary: bool
    """Whether every value is 0 or 1."""


def score_units(
    ctx: Context, wanted: ScoreFilter, *, by_release: bool = False, step: timedelta | None = None
) -> list[ScoreUnit]:
    """Sums of values by who gave rise to them, for intervals that know that one user's scores are alike."""
    seconds = max(60, int(step.total_seconds())) if step is not None else None
    return [
        ScoreUnit(
            t=datetime.fromtimestamp(row.begun or 0, UTC),
            release_id=row.release_id,
            count=int(row.n),
            total=float(row.total),
            binary=int(row.between) == 0,
        )
        for row in store.units(ctx.conn, wanted, by_release=by_release, seconds=seconds)
    ]
