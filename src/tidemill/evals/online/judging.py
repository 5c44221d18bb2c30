"""Judging spans with a scorer: which are in the share, what their answer is, what the scorer says."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from tidemill.core.errors import TidemillError
from tidemill.evals.scorers import Scorer, check_expected
from tidemill.evals.types import ChatMessage, EvalItem, OnlineCounts, OnlineEvaluator
from tidemill.traces.service import Verdict, answer_of, messages_of, text_of
from tidemill.traces.types import SpanDetail

log = logging.getLogger("tidemill.evals.online")


@dataclass(frozen=True)
class Judged:
    """A span with the verdict on it, or with what went wrong."""

    span: SpanDetail
    verdict: Verdict | None = None
    error: str | None = None


def in_share(trace_id: str, share: float) -> bool:
    """Whether a trace belongs to the share: always the same ones, and those of a small share in every larger one."""
    return int.from_bytes(hashlib.sha256(trace_id.encode()).digest()[:8]) < share * 2**64


def judge(
    evaluator: OnlineEvaluator,
    scorer: Scorer,
    spans: Sequence[tuple[SpanDetail, JsonValue]],
    budget: int,
) -> tuple[list[Judged], OnlineCounts]:
    """Judge what is in the share, within the budget. `spans` come with the expected answer, or None."""
    sampled = [pair for pair in spans if in_share(pair[0].trace_id, evaluator.spec.share)]
    answered = [(span, expected) for span, expected in sampled if _answer(span)]
    judged = [_judge(evaluator, scorer, span, expected) for span, expected in answered[:budget]]
    counts = OnlineCounts(
        seen=len(spans),
        sampled=len(sampled),
        scored=sum(one.verdict is not None for one in judged),
        over_budget=len(answered) - len(judged),
        unanswered=len(sampled) - len(answered),
        failed=sum(one.error is not None for one in judged),
    )
    return judged, counts


def _answer(span: SpanDetail) -> str:
    return "" if span.status == "error" else text_of(answer_of(span.output))


def _judge(evaluator: OnlineEvaluator, scorer: Scorer, span: SpanDetail, expected: JsonValue) -> Judged:
    spec = evaluator.spec.scorer
    item = EvalItem(
        id=span.span_id,
        messages=[ChatMessage(role=m["role"], content=m["content"]) for m in messages_of(span.input)],
        expected=expected,
        cluster_id=span.session or span.user or span.trace_id,
    )
    try:
        check_expected(spec.metric, scorer, [item])
        score = scorer.score(item, _answer(span))
    except TidemillError as error:
        return Judged(span, error=error.message)
    except Exception as error:
        # A scorer from a plugin: what it raises is told in the evaluator, and the next call is judged.
        log.exception("%s cannot score the span %s of %s", evaluator.author, span.span_id, span.trace_id)
        return Judged(span, error=f"{type(error).__name__}: {error}"[:500])
    verdict = Verdict(
        name=spec.metric,
        source="code",
        author=evaluator.author,
        value=score.value,
        label=(score.label or ("(invalid)" if score.invalid else None) or "")[:200] or None,
        scorer=spec.scorer,
    )
    return Judged(span, verdict=verdict)
