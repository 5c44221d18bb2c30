"""ShadowResult calls judged in pairs: how far both answers agree, or which of them a scorer likes better."""

import os
import time
from collections import Counter
from datetime import datetime
from statistics import median
from typing import Any, ClassVar, Protocol

from pydantic import ValidationError

from tidemill.core.errors import TidemillError, first_fault
from tidemill.core.kernel import Kernel
from tidemill.core.plugins import Plugins
from tidemill.core.wire import new_id
from tidemill.evals.types import ChatMessage, EvalItem, Score
from tidemill.gateway.types import ShadowResult
from tidemill.rollouts.types import Rollout, RolloutPlanInvalid, Shadow, ShadowEvidence, ShadowPair
from tidemill.stats.sequential import MeanSequence
from tidemill.traces.service import TraceWriter
from tidemill.traces.types import SpanPayload, SpanRecord

AGREEMENT = "agreement"
LIVE = "tidemill.live_answer"


class Scorer(Protocol):
    """A scorer of the seam `tidemill.scorers`."""

    needs_expected: ClassVar[bool]

    def score(self, item: EvalItem, answer: str) -> Score:
        """From 0 to 1."""
        ...


def scorer_of(plugins: Plugins, terms: Shadow) -> Scorer | None:
    """What judges the pairs; None for agreement. Raises RolloutPlanInvalid."""
    if terms.scorer == AGREEMENT:
        return None
    try:
        found: Scorer = plugins.load("tidemill.scorers", terms.scorer)(**terms.settings)
    except TidemillError as error:
        raise RolloutPlanInvalid(error.message, hint=error.hint, param="steps") from error
    except ValidationError as error:
        where, why = first_fault(error)
        raise RolloutPlanInvalid(f"Scorer {terms.scorer}: {where}: {why}.", param="steps") from error
    except TypeError as error:
        raise RolloutPlanInvalid(f"Scorer {terms.scorer}: {error}.", param="steps") from error
    if found.needs_expected:
        raise RolloutPlanInvalid(
            f"The scorer {terms.scorer} compares with an expected answer, and live calls have none.",
            hint="Take agreement, or a scorer that looks at the answer alone, such as json_schema or regex.",
            param="steps",
        )
    return found


def verdict_of(scorer: Scorer | None, found: ShadowResult) -> float | None:
    """Agreement: 1 for the same words, else their overlap. With a scorer: 1 better, 0.5 as good, 0 worse."""
    if found.text is None:
        return None
    if scorer is None:
        return overlap(found.live, found.text)
    messages = [ChatMessage(role="user", content=str(m.get("content") or "")) for m in found.input[-1:]]
    item = EvalItem(id=found.call_id, messages=messages, expected=None, cluster_id=found.call_id)
    live, mirrored = scorer.score(item, found.live).value, scorer.score(item, found.text).value
    return 0.5 if live == mirrored else float(mirrored > live)


def overlap(first: str, second: str) -> float:
    """F1 over words, case aside."""
    one, two = Counter(first.casefold().split()), Counter(second.casefold().split())
    if not one or not two:
        return float(one == two)
    return 2 * (one & two).total() / (one.total() + two.total())


class Pairs:
    """The mirrored calls of one rollout."""

    def __init__(self, rollout: Rollout, scorer: Scorer | None) -> None:
        self._rollout = rollout
        self._scorer = scorer
        self._mean = MeanSequence()
        self._live_ms: list[float] = []
        self._shadow_ms: list[float] = []
        self._failed = 0
        self._tokens = 0
        self._cost: float | None = None

    def judge(self, kernel: Kernel, now: datetime, found: list[ShadowResult]) -> list[ShadowPair]:
        """Judge mirrored calls, store each as a span (masked and priced there), and give back the pairs to keep."""
        verdicts = [verdict_of(self._scorer, one) for one in found]
        records = [_span(self._rollout, one) for one in found]
        if records:
            kernel.get(TraceWriter).write(records)
        return [_pair(self._rollout, now, *made) for made in zip(found, records, verdicts, strict=True)]

    def add(self, pair: ShadowPair) -> None:
        """Take in a pair."""
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
        """What is known by now."""
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


def _span(rollout: Rollout, found: ShadowResult) -> SpanRecord:
    output = [{"role": "assistant", "content": found.text}] if found.text is not None else None
    return SpanRecord(
        trace_id=os.urandom(16),
        span_id=os.urandom(8),
        name=f"shadow {rollout.release}",
        start_ns=time.time_ns() - int(found.ms * 1e6),
        duration_ns=int(found.ms * 1e6),
        kind="llm",
        status="ok" if found.error is None else "error",
        status_message=found.error,
        service="tidemill-gateway",
        model=rollout.release,
        provider="tidemill",
        operation="shadow",
        release_id=rollout.release_id,
        deployment_id=rollout.deployment_id,
        user=found.user,
        session=found.session,
        input_tokens=found.usage.prompt_tokens,
        output_tokens=found.usage.completion_tokens,
        dialect="gateway",
        payload=SpanPayload(
            input=list(found.input),
            output=output,
            attributes={LIVE: found.live, "tidemill.mirrors": found.call_id, "tidemill.rollout": rollout.id},
        ),
    )


def _pair(
    rollout: Rollout, now: datetime, found: ShadowResult, stored: SpanRecord, verdict: float | None
) -> ShadowPair:
    output: list[dict[str, Any]] = stored.payload.output or [{}]
    return ShadowPair(
        id=new_id("shp"),
        rollout_id=rollout.id,
        at=now,
        call_id=found.call_id,
        # As it was stored: masked, and cut where it was too long.
        input=stored.payload.input,
        live=str(stored.payload.attributes.get(LIVE, "")),
        shadow=None if found.text is None else str(output[0].get("content", "")),
        verdict=verdict,
        live_ms=found.live_ms,
        shadow_ms=None if found.text is None else found.ms,
        tokens=found.usage.prompt_tokens + found.usage.completion_tokens,
        cost_usd=stored.cost_usd,
        error=found.error,
    )
