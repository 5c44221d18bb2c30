"""Answers as the gateway would record them, for tests of what is made of them."""

import hashlib
import json
import time
from typing import Any

from tidemill.core.kernel import Kernel
from tidemill.traces.service import TraceWriter
from tidemill.traces.types import SpanPayload, SpanRecord

SECOND = 1_000_000_000


def trace_id(number: int) -> str:
    """The id of the numbered trace."""
    return hashlib.sha256(f"trace {number}".encode()).hexdigest()[:32]


def answer(number: int, question: str = "Where is Oslo?", said: Any = '{"type": "LOC"}', **fields: Any) -> SpanRecord:
    """One call: its trace id follows from the number, its response id is `chatcmpl-NUMBER`."""
    trace = bytes.fromhex(trace_id(number))
    wanted: dict[str, Any] = {
        "trace_id": trace,
        "span_id": trace[:8],
        "name": "chat hello",
        "kind": "llm",
        "status": "ok",
        "start_ns": time.time_ns() - 60 * SECOND + number * 1_000_000,
        "duration_ns": SECOND // 10,
        "model": "hello",
        "response_id": f"chatcmpl-{number}",
        "release_id": "rel_one",
        "environment": "prod",
        "payload": SpanPayload(
            input=[{"role": "system", "content": "Name the type."}, {"role": "user", "content": question}],
            output=None if said is None else [{"role": "assistant", "content": said}],
        ),
    }
    return SpanRecord(**(wanted | fields))


def label(name: str) -> str:
    """An answer that names a label."""
    return json.dumps({"type": name})


def store(kernel: Kernel, *records: SpanRecord) -> None:
    """Commit spans."""
    kernel.get(TraceWriter).write(list(records))
