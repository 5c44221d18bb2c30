"""Judge spans with a scorer: which are in the share, their answers, and their scores."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from tidemill.core.errors import TidemillError
from tidemill.evals.scorers import Scorer, check_expected
from tidemill.evals.types import ChatMessage, EvalItem, OnlineCounts, OnlineEvaluator
from tidemill.feedback.service import Verdict
from tidemill.traces.service import extract_answer, extract_messages, to_text
from tidemill.traces.types import SpanDetail

log = logging.getLogger("tidemill.evals.online")


@dataclass(frozen=True)
class JudgedSpan:
    """A span with the verdict on it, or with what went wrong."""

    span: SpanDetail
    verdict: Verdict | None = None
    error: str | None = None
    cost: float = 0.0
    """Return the US dollars that the scorer has cost on the page."""


@dataclass(frozen=True)
class DailyBudget:
    """How many judgements and US dollars the day has left."""

    judgements: int
    usd: float | None
    """None: as much as it takes."""


@dataclass(frozen=True)
class JudgedPage:
    """The judgements on a page of spans, or on those before the money was spent."""

    judged: list[JudgedSpan]
    counts: OnlineCounts
    examined: int
    """Spans that were dealt with: the rest waits for the next day."""

    @property
    def cost(self) -> float:
        """Return the US dollars that the scorer has cost on the page."""
        return sum(one.cost for one in self.judged)


def in_share(trace_id: str, share: float) -> bool:
    """Return whether a trace is in the share, stable by id. A larger share contains every smaller one."""
    return int.from_bytes(hashlib.sha256(trace_id.encode()).digest()[:8]) < share * 2**64


def judge(
    evaluator: OnlineEvaluator, scorer: Scorer, spans: Sequence[tuple[SpanDetail, JsonValue]], budget: DailyBudget
) -> JudgedPage:
    """Judge what is in the share, within what the day has left. `spans` come with the expected answer, or None.

    When the judgements are used up, the rest is passed over; when the money is, the rest is not even looked at. What a
    judgement costs is known afterwards, so the last one may go beyond the limit.
    """
    judged: list[JudgedSpan] = []
    examined = sampled = unanswered = over = 0
    spent = 0.0
    for span, expected in spans:
        fits = in_share(span.trace_id, evaluator.spec.share)
        answered = fits and bool(_answer(span))
        room = len(judged) < budget.judgements
        if answered and room and budget.usd is not None and spent >= budget.usd:
            break
        examined += 1
        sampled += fits
        unanswered += fits and not answered
        over += answered and not room
        if answered and room:
            judged.append(_judge(evaluator, scorer, span, expected))
            spent += judged[-1].cost
    counts = OnlineCounts(
        seen=examined,
        sampled=sampled,
        scored=sum(one.verdict is not None for one in judged),
        over_budget=over,
        unanswered=unanswered,
        failed=sum(one.error is not None for one in judged),
    )
    return JudgedPage(judged, counts, examined)


def _answer(span: SpanDetail) -> str:
    return "" if span.status == "error" else to_text(extract_answer(span.output))


def _judge(evaluator: OnlineEvaluator, scorer: Scorer, span: SpanDetail, expected: JsonValue) -> JudgedSpan:
    spec = evaluator.spec.scorer
    item = EvalItem(
        id=span.span_id,
        messages=[ChatMessage(role=m["role"], content=m["content"]) for m in extract_messages(span.input)],
        expected=expected,
        cluster_id=span.session or span.user or span.trace_id,
    )
    try:
        check_expected(spec.metric, scorer, [item])
        score = scorer.score(item, _answer(span))
    except TidemillError as error:
        return JudgedSpan(span, error=error.message)
    except Exception as error:
        # A scorer from a plugin: what it raises is told in the evaluator, and the next call is judged.
        log.exception("%s cannot score the span %s of %s", evaluator.author, span.span_id, span.trace_id)
        return JudgedSpan(span, error=f"{type(error).__name__}: {error}"[:500])
    verdict = Verdict(
        name=spec.metric,
        source="model" if getattr(scorer, "asks_model", False) else "code",
        author=evaluator.author,
        value=score.value,
        label=(score.label or ("(invalid)" if score.invalid else None) or "")[:200] or None,
        scorer=spec.scorer,
    )
    return JudgedSpan(span, verdict=verdict, cost=score.cost or 0.0)
