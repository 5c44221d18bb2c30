"""`client.traces`: lists, trees, search and time series of traces."""

from datetime import date, datetime
from typing import Any

from pydantic import TypeAdapter

from tidemill.core.http import Http
from tidemill.core.wire import Page
from tidemill.traces.types import (
    Caller,
    DayUse,
    Grain,
    GroupBy,
    Measure,
    Prune,
    Pruned,
    SeriesPoint,
    SessionSummary,
    SpanDetail,
    TailPage,
    TraceFilter,
    TraceSummary,
    TraceTree,
    UserSummary,
    WriterState,
)

Points = list[SeriesPoint]
Callers = list[Caller]
DayUses = list[DayUse]

_POINTS = TypeAdapter(Points)
_CALLERS = TypeAdapter(Callers)
_DAYS = TypeAdapter(DayUses)


class Traces:
    """Traces: lists, trees, search, sessions, users and time series. Spans come in by OTLP at `/v1/traces`."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def list(
        self, *, text: str | None = None, cursor: str | None = None, limit: int = 50, **where: Any
    ) -> Page[TraceSummary]:
        """Return traces, newest first. `where`: fields of TraceFilter, such as `model="support@3"`, `status="error"`,
        `session`, `user`, `release_id`, `since`, `min_ms`. `text`: only those with all of these words."""
        params = {**_params(where), "text": text, "cursor": cursor, "limit": limit}
        return self._http.get("/api/traces", Page[TraceSummary], params)

    def get(self, trace_id: str, *, payload: bool = False, limit: int = 2000) -> TraceTree:
        """Return one trace as a tree. Raises TraceNotFound, TraceIdInvalid."""
        return self._http.get(f"/api/traces/{trace_id}", TraceTree, {"payload": payload, "limit": limit})

    def span(self, trace_id: str, span_id: str) -> SpanDetail:
        """Return one span with its input and output. Raises SpanNotFound."""
        return self._http.get(f"/api/traces/{trace_id}/spans/{span_id}", SpanDetail)

    def response(self, response_id: str) -> SpanDetail:
        """Return the span of a response, such as `chatcmpl-…`. Raises SpanNotFound."""
        return self._http.get(f"/api/traces/responses/{response_id}", SpanDetail)

    def search(self, text: str, *, cursor: str | None = None, limit: int = 50, **where: Any) -> Page[SpanDetail]:
        """Return spans with all words of `text` in input, output, name or error, the latest stored first."""
        params = {**_params(where), "text": text, "cursor": cursor, "limit": limit}
        return self._http.get("/api/traces/search", Page[SpanDetail], params)

    def series(
        self,
        since: datetime,
        until: datetime | None = None,
        *,
        grain: Grain = "hour",
        by: GroupBy | None = None,
        key: str | None = None,
        measure: Measure = "calls",
        top: int = 20,
    ) -> Points:
        """Return requests, errors, tokens, cost and latency over time, oldest first, without empty steps."""
        params = {
            "since": since.isoformat(),
            "until": until.isoformat() if until else None,
            "grain": grain,
            "by": by,
            "key": key,
            "measure": measure,
            "top": top,
        }
        return _POINTS.validate_json(self._http.send("GET", "/api/traces/series", params=params).content)

    def sessions(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        user: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[SessionSummary]:
        """Return sessions, the latest active first."""
        params = {**_params({"since": since, "until": until}), "user": user, "cursor": cursor, "limit": limit}
        return self._http.get("/api/traces/sessions", Page[SessionSummary], params)

    def users(
        self, *, since: datetime | None = None, until: datetime | None = None, limit: int = 50
    ) -> Page[UserSummary]:
        """Return users, those with the most requests first. Default: within seven days."""
        params = {**_params({"since": since, "until": until}), "limit": limit}
        return self._http.get("/api/traces/users", Page[UserSummary], params)

    def callers(
        self,
        *,
        release_id: str | None = None,
        model: str | None = None,
        deployment_id: str | None = None,
        since: datetime | None = None,
    ) -> Callers:
        """Return who called a release, a model or a deployment, the busiest first."""
        params = {"release_id": release_id, "model": model, "deployment_id": deployment_id, **_params({"since": since})}
        return _CALLERS.validate_json(self._http.send("GET", "/api/traces/callers", params=params).content)

    def tail(self, *, after: str | None = None, limit: int = 100) -> TailPage:
        """Return spans in the order they were stored; pass `position` as `after` to continue."""
        return self._http.get("/api/traces/tail", TailPage, {"after": after, "limit": limit})

    def days(self) -> DayUses:
        """Return the days that are stored and what they take up, newest first."""
        return _DAYS.validate_json(self._http.send("GET", "/api/traces/days").content)

    def writer(self) -> WriterState:
        """Return how many spans were stored, wait and were refused since the start."""
        return self._http.get("/api/traces/writer", WriterState)

    def prune(self, before: date | None = None) -> Pruned:
        """Remove the days before `before`; without it, those that the retention setting does not keep."""
        body = Prune(before=before)
        return self._http.post("/api/traces/prune", Pruned, body)


def _params(where: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a filter as query parameters. Raises for an unknown one and for a time without zone."""
    fields = {name: value for name, value in where.items() if value is not None}
    return TraceFilter.model_validate(fields).model_dump(mode="json", exclude_unset=True)
