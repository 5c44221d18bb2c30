"""The answers and scores that a rollout is judged on, read from the traces as they come in."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill.core.kernel import Context
from tidemill.feedback import service as feedback
from tidemill.feedback.types.scores import Score
from tidemill.rollouts.types import Rollout
from tidemill.traces import service as traces
from tidemill.traces.types import Span, TraceFilter

PAGE = 1000
REREAD_WINDOW = timedelta(seconds=15)
"""A score may be committed after one with a later id, so scores this recent are read again."""

INFRASTRUCTURE = frozenset({"engine_died", "engine_unavailable", "overloaded", "upstream_timeout"})
"""Errors of the infrastructure, not of the release."""


@dataclass(frozen=True)
class ObservedAnswer:
    """One call that one of the two releases answered, or should have."""

    at: datetime
    canary: bool
    unit: str
    """The independent unit: a session, else a user, else the call itself."""
    failed: bool
    infrastructure: bool
    callers_fault: bool
    """Whether the request itself was refused (4xx)."""
    attempts: int
    latency_ms: float
    cost_usd: float | None


@dataclass(frozen=True)
class ObservedScore:
    """One score of an answer of one of the two releases."""

    name: str
    canary: bool
    unit: str
    value: float


class Observations:
    """Reads new answers and scores of a rollout. A new instance starts at the rollout's first answer."""

    def __init__(self, rollout: Rollout) -> None:
        self._since = rollout.began_at
        self._environment = rollout.environment
        self._is_canary = {rollout.deployment_id: True}
        if rollout.baseline_deployment_id is not None:
            self._is_canary[rollout.baseline_deployment_id] = False
        self._position: str | None = None
        self._after: str | None = None
        self._seen: set[str] = set()

    def answers(self, ctx: Context) -> Iterator[ObservedAnswer]:
        """Yield the calls of both releases that were stored since the last call of this method."""
        where = TraceFilter(environment=self._environment, calls=True, since=self._since)
        more = True
        while more:
            page = traces.read_tail(ctx, after=self._position, limit=PAGE, where=where)
            self._position, more = page.position, page.more
            for span in page.spans:
                canary = self._is_canary.get(span.deployment_id or "")
                if canary is not None and span.start >= (self._since or span.start):
                    yield _answer(span, span.attributes, canary)

    def scores(self, ctx: Context) -> Iterator[ObservedScore]:
        """Yield the scores of both releases that were given since the last call of this method."""
        after = self._after
        while True:
            batch = feedback.list_scores(ctx, environment=self._environment, since=self._since, after=after, limit=PAGE)
            for score in batch:
                canary = self._is_canary.get(score.deployment_id or "")
                if score.id not in self._seen and canary is not None and score.value is not None:
                    yield ObservedScore(score.name, canary, _unit_of_score(score), score.value)
                self._seen.add(score.id)
                if score.at < ctx.now - REREAD_WINDOW:
                    self._after = score.id
            if self._after is not None:  # those before it are not read again
                self._seen = {score_id for score_id in self._seen if score_id > self._after}
            if len(batch) < PAGE:
                return
            after = batch[-1].id


def _answer(span: Span, attributes: dict[str, object], canary: bool) -> ObservedAnswer:
    code = str(attributes.get("error.type") or attributes.get("tidemill.error_code") or "")
    attempts, http_status = attributes.get("tidemill.attempts"), attributes.get("tidemill.http_status")
    failed, infrastructure = span.status == "error", code in INFRASTRUCTURE
    refused = isinstance(http_status, int) and 400 <= http_status < 500
    return ObservedAnswer(
        at=span.start,
        canary=canary,
        unit=span.session or span.user or span.trace_id,
        failed=failed,
        infrastructure=infrastructure,
        callers_fault=failed and refused and not infrastructure,
        attempts=int(attempts) if isinstance(attempts, int) else 1,
        latency_ms=span.duration_ms,
        cost_usd=span.cost_usd,
    )


def _unit_of_score(score: Score) -> str:
    return score.session or score.user or score.trace_id
