"""The routes of feedback and scores."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from tidemill.core.web import Cursor, Limit, RequestContext, role
from tidemill.core.wire import Page
from tidemill.feedback import service
from tidemill.feedback.types.scores import (
    BulkReply,
    Feedback,
    FeedbackBulk,
    Score,
    ScoreCreate,
    ScoreFilter,
    ScoreSeries,
    SeriesKey,
)

router = APIRouter(prefix="/api", tags=["scores"])


class ScoreQuery(ScoreFilter):
    """Which scores, and which page of them."""

    cursor: Cursor = None
    limit: Limit = 50


class SeriesQuery(ScoreFilter):
    """Which scores, and how they are put together."""

    by: SeriesKey = "release"
    bucket_seconds: int = 3600


@router.post("/feedback", status_code=201, openapi_extra=role("viewer"))
def give_feedback(body: Feedback, request: RequestContext) -> Score:
    """Thumbs, a score, a label, a correction or a comment on an answer; by an annotator, or by who made the call."""
    return request.write(service.give_feedback, body)


@router.post("/feedback/bulk", openapi_extra=role("viewer"))
def give_feedback_bulk(body: FeedbackBulk, request: RequestContext) -> BulkReply:
    """Up to 1,000 pieces of feedback; each is answered apart."""
    return service.give_feedback_bulk(request.kernel, request.actor, body)


@router.post("/scores", status_code=201, openapi_extra=role("developer"))
def record(body: ScoreCreate, request: RequestContext) -> Score:
    """What code or a model outside says about an answer."""
    return request.write(service.record, body)


@router.get("/scores", openapi_extra=role("viewer"))
def listing(query: Annotated[ScoreQuery, Query()], request: RequestContext) -> Page[Score]:
    """Scores, newest first."""
    wanted = ScoreFilter.model_validate(query.model_dump(exclude={"cursor", "limit"}))
    return request.read(service.page_of_scores, wanted, cursor=query.cursor, limit=query.limit)


@router.get("/scores/series", openapi_extra=role("viewer"))
def series(query: Annotated[SeriesQuery, Query()], request: RequestContext) -> ScoreSeries:
    """Scores over time: counts, means and labels by release, environment, deployment, model or source."""
    wanted = ScoreFilter.model_validate(query.model_dump(exclude={"by", "bucket_seconds"}))
    return request.read(service.score_series, wanted, by=query.by, bucket=timedelta(seconds=query.bucket_seconds))


@router.get("/scores/{score_id}", openapi_extra=role("viewer"))
def get(score_id: str, request: RequestContext) -> Score:
    """One score."""
    return request.read(service.get_score, score_id)


@router.delete("/scores/{score_id}", openapi_extra=role("annotator"))
def delete(score_id: str, request: RequestContext) -> Score:
    """Take a score back."""
    return request.write(service.delete_score, score_id)
