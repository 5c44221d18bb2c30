"""Judge pairs of live and shadow answers: how far they agree, or which of them a scorer rates higher."""

import os
import time
from collections import Counter
from datetime import datetime
from statistics import median
from typing import Any, ClassVar, Protocol

from pydantic import ValidationError

from tidemill.core.errors import TidemillError
from tidemill.core.kernel import Kernel
from tidemill.core.plugins import Plugins
from tidemill.core.tokens import tokens
from tidemill.core.value_faults import sentence_of
from tidemill.core.wire import new_id
from tidemill.evals.types import AnswerScore, ChatMessage, EvalItem
from tidemill.gateway.types import ShadowResult
from tidemill.rollouts.types import Rollout, RolloutPlanInvalid, Shadow, ShadowEvidence, ShadowPair
from tidemill.stats.sequential import MeanSequence
from tidemill.traces.service import TraceWriter
from tidemill.traces.types import SpanPayload, SpanRecord

AGREEMENT = "agreement"
LIVE = "tidemill.live_answer"


class ShadowScorer(Protocol):
    """A scorer of the entry-point group `tidemill.scorers`, as a shadow comparison uses it."""

    needs_expected: ClassVar[bool]

    def score(self, item: EvalItem, answer: str) -> AnswerScore:
        """Return a score from 0 to 1."""
        ...


def load_scorer(plugins: Plugins, terms: Shadow) -> ShadowScorer | None:
    """Return the scorer of the pairs; None for agreement. Raises RolloutPlanInvalid."""
    if terms.scorer == AGREEMENT:
        return None
    try:
        scorer: ShadowScorer = plugins.load("tidemill.scorers", terms.scorer)(**terms.settings)
    except TidemillError as error:
        raise RolloutPlanInvalid(error.message, hint=error.hint, param="steps") from error
    except ValidationError as error:
        raise RolloutPlanInvalid(f"Scorer {terms.scorer}: {sentence_of(error)}.", param="steps") from error
    except TypeError as error:
        raise RolloutPlanInvalid(f"Scorer {terms.scorer}: {error}.", param="steps") from error
    if scorer.needs_expected:
        raise RolloutPlanInvalid(
            f"The scorer {terms.scorer} compares with an expected answer, and live calls have none.",
            hint="Take agreement, or a scorer that looks at the answer alone, such as json_schema or regex.",
            param="steps",
        )
    return scorer


def judge_pair(scorer: ShadowScorer | None, result: ShadowResult) -> float | None:
    """Return the verdict on a pair, None for a failed copy. Without a scorer: word overlap; with one: 1, 0.5 or 0."""
    if result.text is None:
        return None
    if scorer is None:
        return word_overlap(result.live, result.text)
    messages = [ChatMessage(role="user", content=str(m.get("content") or "")) for m in result.input[-1:]]
    item = EvalItem(id=result.call_id, messages=messages, expected=None, cluster_id=result.call_id)
    live, shadow = scorer.score(item, result.live).value, scorer.score(item, result.text).value
    return 0.5 if live == shadow else float(shadow > live)


def word_overlap(first: str, second: str) -> float:
    """Return the F1 of two texts over their words, from 0 to 1, ignoring case and punctuation."""
    first_words, second_words = Counter(tokens(first)), Counter(tokens(second))
    if not first_words and not second_words:
        return float(first.strip() == second.strip())
    return 2 * (first_words & second_words).total() / (first_words.total() + second_words.total())


class ShadowComparison:
    """Compares the live answers of one rollout with those that the new release gave to copies of the calls."""

    def __init__(self, rollout: Rollout, scorer: ShadowScorer | None) -> None:
        self._rollout = rollout
        self._scorer = scorer
        self._mean = MeanSequence()
        self._live_ms: list[float] = []
        self._shadow_ms: list[float] = []
        self._failed = 0
        self._tokens = 0
        self._cost: float | None = None

    def judge(self, kernel: Kernel, now: datetime, results: list[ShadowResult]) -> list[ShadowPair]:
        """Judge copied calls and store each as a span, masked and priced there. Return the pairs to keep."""
        verdicts = [judge_pair(self._scorer, result) for result in results]
        records = [_span(self._rollout, result) for result in results]
        if records:
            kernel.get(TraceWriter).write(records)
        return [_pair(self._rollout, now, *pair) for pair in zip(results, records, verdicts, strict=True)]

    def add(self, pair: ShadowPair) -> None:
        """Add a judged pair to the sums."""
        self._tokens += pair.tokens
        if pair.cost_usd is not None:
            self._cost = (self._cost or 0.0) + pair.cost_usd
        if pair.verdict is None or pair.shadow_ms is None:
            self._failed += 1
            return
        self._mean.add(pair.verdict)
        self._live_ms.append(pair.live_ms)
        self._shadow_ms.append(pair.shadow_ms)

    def evidence(self, skipped: int) -> ShadowEvidence:
        """Return the comparison so far. `skipped` calls were not copied, as no engine was free."""
        return ShadowEvidence(
            pairs=len(self._live_ms),
            failed=self._failed,
            skipped=skipped,
            agreement=self._mean.mean,
            low=self._mean.low,
            high=self._mean.high,
            live_ms=median(self._live_ms) if self._live_ms else None,
            shadow_ms=median(self._shadow_ms) if self._shadow_ms else None,
            shadow_tokens=self._tokens,
            shadow_cost_usd=self._cost,
        )


def _span(rollout: Rollout, result: ShadowResult) -> SpanRecord:
    output = [{"role": "assistant", "content": result.text}] if result.text is not None else None
    return SpanRecord(
        trace_id=os.urandom(16),
        span_id=os.urandom(8),
        name=f"shadow {rollout.release}",
        start_ns=time.time_ns() - int(result.ms * 1e6),
        duration_ns=int(result.ms * 1e6),
        kind="llm",
        status="ok" if result.error is None else "error",
        status_message=result.error,
        service="tidemill-gateway",
        model=rollout.release,
        provider="tidemill",
        operation="shadow",
        release_id=rollout.release_id,
        deployment_id=rollout.deployment_id,
        user=result.user,
        session=result.session,
        input_tokens=result.usage.prompt_tokens,
        output_tokens=result.usage.completion_tokens,
        dialect="gateway",
        payload=SpanPayload(
            input=list(result.input),
            output=output,
            attributes={LIVE: result.live, "tidemill.mirrors": result.call_id, "tidemill.rollout": rollout.id},
        ),
    )


def _pair(
    rollout: Rollout, now: datetime, result: ShadowResult, stored: SpanRecord, verdict: float | None
) -> ShadowPair:
    output: list[dict[str, Any]] = stored.payload.output or [{}]
    return ShadowPair(
        id=new_id("shp"),
        rollout_id=rollout.id,
        at=now,
        call_id=result.call_id,
        # As it was stored: masked, and cut where it was too long.
        input=stored.payload.input or [],
        live=str(stored.payload.attributes.get(LIVE, "")),
        shadow=None if result.text is None else str(output[0].get("content", "")),
        verdict=verdict,
        live_ms=result.live_ms,
        shadow_ms=None if result.text is None else result.ms,
        tokens=result.usage.prompt_tokens + result.usage.completion_tokens,
        cost_usd=stored.cost_usd,
        # Without contents only its code stays.
        error=stored.status_message or (result.error.partition(":")[0] if result.error is not None else None),
    )
