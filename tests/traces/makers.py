"""Spans for tests, and a recount of the sums from the spans themselves."""

import random
import time
from datetime import UTC, datetime
from typing import Any

from tidemill.core.actors import OWNER
from tidemill.core.kernel import Context, Kernel
from tidemill.traces.service import TraceStore, TraceWriter
from tidemill.traces.store.rollups import HOUR, LEVELS, MINUTE
from tidemill.traces.types import SpanPayload, SpanRecord

SECOND = 1_000_000_000
NOON = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()) * SECOND


def record(
    number: int, *, trace: int = 1, parent: int | None = None, start: int | None = None, **fields: Any
) -> SpanRecord:
    """Span `number` of trace `trace`, one second long."""
    given: dict[str, Any] = {
        "trace_id": trace.to_bytes(16, "big"),
        "span_id": number.to_bytes(8, "big"),
        "parent_id": parent.to_bytes(8, "big") if parent is not None else None,
        "name": f"span {number}",
        "start_ns": time.time_ns() if start is None else start,
        "duration_ns": SECOND,
    }
    return SpanRecord(**(given | fields))


def call(number: int, text: str = "hello there", **fields: Any) -> SpanRecord:
    """A model call that says something."""
    payload = SpanPayload(
        input=[{"role": "user", "content": text}], output=[{"role": "assistant", "content": f"you said {text}"}]
    )
    given: dict[str, Any] = {
        "kind": "llm",
        "model": "small",
        "input_tokens": 10,
        "output_tokens": 5,
        "payload": payload,
    }
    return record(number, **(given | fields))


def traffic(count: int, *, seed: int = 1, start: int = NOON, spread_s: int = 7200) -> list[SpanRecord]:
    """Traces of five spans each, varied in everything the sums are kept by."""
    chance = random.Random(seed)
    made: list[SpanRecord] = []
    for _ in range(count // 5):
        trace, begin = chance.randbytes(16), start + chance.randrange(spread_s * SECOND)
        ids = [chance.randbytes(8) for _ in range(5)]
        shared: dict[str, Any] = {
            "trace_id": trace, "user": f"user-{chance.randrange(20)}", "session": f"session-{chance.randrange(50)}",
            "environment": chance.choice(["dev", "prod"]), "service": "shop",
        }  # fmt: skip
        for at in range(5):
            is_call = at in (1, 3)
            made.append(
                SpanRecord(
                    **shared, span_id=ids[at], parent_id=ids[0] if at else None, name=f"step {at}",
                    kind="llm" if is_call else "tool" if at else "agent", start_ns=begin + at * SECOND // 10,
                    duration_ns=chance.randrange(SECOND // 1000, 3 * SECOND),
                    status=chance.choice(["ok", "ok", "ok", "error"]),
                    model=chance.choice(["small", "large"]) if is_call else None,
                    release_id=chance.choice(["rel_a", "rel_b", None]) if is_call else None,
                    prompt="triage@3" if is_call else None, key_id="key_1" if is_call else None,
                    response_id=f"reply-{seed}-{chance.randrange(10**9)}" if is_call else None,
                    input_tokens=chance.randrange(500) if is_call else None,
                    output_tokens=chance.randrange(200) if is_call else None, cost_usd=0.25 if is_call else None,
                    payload=SpanPayload(input=f"question {chance.randrange(1000)}", output="answer"),
                )
            )  # fmt: skip
    return made


def write(kernel: Kernel, *records: SpanRecord) -> None:
    """Store through the writer."""
    kernel.get(TraceWriter).write(list(records))


def context(kernel: Kernel) -> Context:
    """A context for questions to the traces, which need no transaction of the main database."""
    with kernel.read(OWNER) as ctx:
        return ctx


_KEYS = {"total": None, "model": "model", "release": "release_id", "prompt": "prompt", "environment": "environment",
         "deployment": "deployment_id", "key": "key_id", "user": "user_id", "session": "session_id"}  # fmt: skip


def differences(store: TraceStore) -> list[str]:
    """Where the sums are not what a recount of the spans gives, over all days, grains and levels."""
    wrong = []
    for day in store.days.list_days():
        with store.days.read(day) as look:
            assert look is not None
            for grain in (HOUR, MINUTE):
                for level, name in enumerate(LEVELS):
                    if grain == MINUTE and name in ("key", "user", "session"):
                        continue
                    column = _KEYS[name] or "0"
                    recount = look.rows(
                        f"""SELECT (start_us / 1000000 / {grain}) * {grain}, {column}, count(*),
                        sum(CASE WHEN parent IS NULL THEN 1 ELSE 0 END),
                        sum(CASE WHEN parent IS NULL AND status = 2 THEN 1 ELSE 0 END), sum(counted),
                        sum(CASE WHEN counted = 1 AND status = 2 THEN 1 ELSE 0 END),
                        coalesce(sum(CASE WHEN counted = 1 THEN input_tokens END), 0),
                        coalesce(sum(CASE WHEN counted = 1 THEN output_tokens END), 0),
                        min(start_us), max(start_us + duration_us)
                        FROM spans WHERE {column} IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2"""
                    )
                    kept = look.rows(
                        f"""SELECT t, key, spans, traces, trace_errors, calls, errors, input_tokens, output_tokens,
                        first_us, last_us FROM rollups WHERE grain = {grain} AND level = {level} ORDER BY 1, 2"""
                    )
                    if [tuple(map(int, row)) for row in recount] != [tuple(map(int, row)) for row in kept]:
                        wrong.append(f"{day} {grain} {name}")
    return wrong
