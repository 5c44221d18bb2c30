"""Answer the items of a run: many at once, recorded as they come, never twice."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tidemill.core.wire import content_hash, utc_now
from tidemill.evals.chat import ChatAnswer, ChatEndpoint, ask
from tidemill.evals.scorers import Scorer
from tidemill.evals.types import EvalItem, EvalResult, RunCreate

FLUSH_SECONDS = 0.1
"""Answers wait at most so long before they are written down."""


@dataclass(frozen=True)
class ItemRequest:
    """One request of a run: an item, asked once or as one of its repeats."""

    seq: int
    item: EvalItem
    repeat: int
    body: dict[str, Any]
    cache_key: str | None


def open_requests(
    spec: RunCreate, items: Sequence[EvalItem], model: str, fingerprint: str | None, recorded: set[int]
) -> list[ItemRequest]:
    """Return the requests that have no result yet. With a fingerprint, each has a key in the cache."""
    fixed = {k: v for k, v in spec.sampling.model_dump(exclude={"seed"}).items() if v is not None}
    requests = []
    for position, item in enumerate(items):
        for repeat in range(spec.repeats):
            seq = position * spec.repeats + repeat
            if seq in recorded:
                continue
            body = {"model": model, "messages": [m.model_dump() for m in item.messages], **fixed}
            if spec.sampling.seed is not None:
                body["seed"] = spec.sampling.seed + repeat
            # The fingerprint says what answers, under whatever name it is asked.
            content = {name: value for name, value in body.items() if name != "model"}
            key = content_hash({"target": fingerprint, "body": content, "repeat": repeat}) if fingerprint else None
            requests.append(ItemRequest(seq=seq, item=item, repeat=repeat, body=body, cache_key=key))
    return requests


def score_answer(
    run_id: str,
    question: ItemRequest,
    answer: ChatAnswer,
    scorers: Mapping[str, Scorer],
    *,
    cached_at: datetime | None = None,
) -> EvalResult:
    """Return the result of one answer, scored unless it failed. `cached_at`: when an earlier run recorded it."""
    scores = {}
    if answer.text is not None:
        scores = {name: scorer.score(question.item, answer.text) for name, scorer in scorers.items()}
    return EvalResult(
        run_id=run_id,
        seq=question.seq,
        item_id=question.item.id,
        repeat=question.repeat,
        answer=answer.text,
        finish_reason=answer.finish_reason,
        scores=scores,
        error=answer.error,
        latency_ms=answer.latency_ms,
        prompt_tokens=answer.prompt_tokens,
        output_tokens=answer.output_tokens,
        attempts=answer.attempts,
        cached=cached_at is not None,
        at=cached_at or utc_now(),
    )


@dataclass
class RunExecutor:
    """Asks the requests of a run that have no result, and hands every answer to `write` within FLUSH_SECONDS."""

    run_id: str
    endpoint: ChatEndpoint
    concurrency: int
    scorers: Mapping[str, Scorer]
    write: Callable[[list[tuple[ItemRequest, EvalResult]]], None]
    watch: Callable[[int, int, float], None]
    waiting: list[tuple[ItemRequest, EvalResult]] = field(default_factory=list)
    answered: int = 0
    failed: int = 0

    async def run(self, requests: Sequence[ItemRequest]) -> None:
        """Ask everything. `watch(answered, failed, seconds)` is called now and then; what it raises ends the run.

        Whatever has been answered by then is written first. Raises TargetRefused when the target refuses all.
        """
        queue = iter(requests)
        began = time.monotonic()
        async with self.endpoint.session(self.concurrency) as session:
            workers = [asyncio.create_task(self._answer_questions(session, queue)) for _ in range(self.concurrency)]
            try:
                pending: set[asyncio.Task[None]] = set(workers)
                while pending:
                    done, pending = await asyncio.wait(
                        pending, timeout=FLUSH_SECONDS, return_when=asyncio.FIRST_EXCEPTION
                    )
                    await self._flush()
                    for task in done:
                        task.result()
                    self.watch(self.answered, self.failed, time.monotonic() - began)
            finally:
                for task in workers:
                    task.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
                await self._flush()

    async def _answer_questions(self, session: Any, queue: Any) -> None:
        for question in queue:
            answer = await ask(session, self.endpoint, question.body)
            result = score_answer(self.run_id, question, answer, self.scorers)
            self.answered += 1
            self.failed += result.failed
            self.waiting.append((question, result))

    async def _flush(self) -> None:
        batch, self.waiting = self.waiting, []
        if batch:
            await asyncio.to_thread(self.write, batch)
