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
    """The query of a page of scores."""

    cursor: Cursor = None
    limit: Limit = 50


class SeriesQuery(ScoreFilter):
    """The query of a series of scores."""

    by: SeriesKey = "release"
    bucket_seconds: int = Query(default=3600, ge=60, le=100 * 366 * 86400)


@router.post("/feedback", status_code=201, openapi_extra=role("viewer"))
def give_feedback(body: Feedback, request: RequestContext) -> Score:
    """Store thumbs, a score, a label, a correction or a comment, from an annotator or from who made the call."""
    return request.write(service.give_feedback, body)


@router.post("/feedback/bulk", openapi_extra=role("viewer"))
def give_feedback_bulk(body: FeedbackBulk, request: RequestContext) -> BulkReply:
    """Store up to 1,000 pieces of feedback; each gets its own result."""
    return service.give_feedback_bulk(request.kernel, request.actor, body)


@router.post("/scores", status_code=201, openapi_extra=role("developer"))
def record_score(body: ScoreCreate, request: RequestContext) -> Score:
    """Store a score that code or a model outside gives to an answer."""
    return request.write(service.record_score, body)


@router.get("/scores", openapi_extra=role("viewer"))
def list_scores(query: Annotated[ScoreQuery, Query()], request: RequestContext) -> Page[Score]:
    """List scores, newest first."""
    where = ScoreFilter.model_validate(query.model_dump(exclude={"cursor", "limit"}))
    return request.read(service.list_score_page, where, cursor=query.cursor, limit=query.limit)


@router.get("/scores/series", openapi_extra=role("viewer"))
def get_score_series(query: Annotated[SeriesQuery, Query()], request: RequestContext) -> ScoreSeries:
    """Return scores over time: counts, means and labels by release, environment, deployment, model or source."""
    where = ScoreFilter.model_validate(query.model_dump(exclude={"by", "bucket_seconds"}))
    return request.read(service.get_score_series, where, by=query.by, bucket=timedelta(seconds=query.bucket_seconds))


@router.get("/scores/{score_id}", openapi_extra=role("viewer"))
def get_score(score_id: str, request: RequestContext) -> Score:
    """Return a score."""
    return request.read(service.get_score, score_id)


@router.delete("/scores/{score_id}", openapi_extra=role("annotator"))
def delete_score(score_id: str, request: RequestContext) -> Score:
    """Delete a score: what it said counts no longer. The answer is the deleted score."""
    return request.write(service.delete_score, score_id)
