"""`client.scores`, and `client.traces` with feedback, collections and erasures."""

from collections.abc import Iterable, Mapping
from typing import Any

from tidemill.core.http import Http
from tidemill.core.wire import Page
from tidemill.feedback.collections.sdk import Curation
from tidemill.feedback.erasure.sdk import Erasures
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
from tidemill.traces.sdk import Traces


class Scores:
    """Scores and feedback on traces and calls."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def feedback(self, **fields: Any) -> Score:
        """Store a person's feedback on an answer; `fields` are those of Feedback.

        Give `response_id`, or `trace_id` (with `span_id`), and one of `thumbs` (`up`, `down`), `score`, `label`,
        `correction`, `comment`. Raises TargetUnknown, FeedbackRefused.
        """
        return self._http.post("/api/feedback", Score, Feedback.model_validate(fields))

    def feedback_bulk(self, items: Iterable[Mapping[str, Any]]) -> BulkReply:
        """Store up to 1,000 pieces of feedback; each has its own result, a score or an error."""
        body = FeedbackBulk.model_validate({"items": [dict(item) for item in items]})
        return self._http.post("/api/feedback/bulk", BulkReply, body)

    def record(self, **fields: Any) -> Score:
        """Store a score that code or a model gives; `fields` are those of ScoreCreate. Raises TargetUnknown."""
        return self._http.post("/api/scores", Score, ScoreCreate.model_validate(fields))

    def list(self, *, cursor: str | None = None, limit: int = 50, **where: Any) -> Page[Score]:
        """Return scores, newest first. `where` are fields of ScoreFilter, such as `name`, `release_id`, `trace_id`."""
        return self._http.get("/api/scores", Page[Score], _params(where) | {"cursor": cursor, "limit": limit})

    def series(self, *, by: SeriesKey = "release", bucket_seconds: int = 3600, **where: Any) -> ScoreSeries:
        """Return scores over time, by release, environment, deployment, model, source or none."""
        params = _params(where) | {"by": by, "bucket_seconds": bucket_seconds}
        return self._http.get("/api/scores/series", ScoreSeries, params)

    def get(self, score_id: str) -> Score:
        """Return a score. Raises ScoreNotFound."""
        return self._http.get(f"/api/scores/{score_id}", Score)

    def delete(self, score_id: str) -> None:
        """Delete a score. Raises ScoreNotFound, FeedbackRefused."""
        self._http.delete(f"/api/scores/{score_id}")


class TracesWithFeedback(Traces):
    """Traces, and what is done with them: feedback on answers, datasets made of answers, erasing a user."""

    def __init__(self, http: Http) -> None:
        super().__init__(http)
        self.collections = Curation(http)
        self.erasures = Erasures(http)
        self.erase = self.erasures.erase
        self.feedback = Scores(http).feedback
        self.feedback_bulk = Scores(http).feedback_bulk
        self.to_dataset = self.collections.to_dataset


def _params(where: Mapping[str, Any]) -> dict[str, Any]:
    return ScoreFilter.model_validate(dict(where)).model_dump(mode="json", exclude_none=True)
