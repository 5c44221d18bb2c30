"""With contents switched off no text of a request, an answer, a span or a judgement is stored anywhere."""

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import zstandard

from tests.gateway.test_ends import END, PROGRESS, USAGE, ask, event
from tests.traces.otlp_requests import PROTOBUF, request
from tidemill.core.actors import OWNER
from tidemill.core.asgi import LOCAL_SCOPE
from tidemill.core.kernel import Kernel
from tidemill.core.settings import Settings
from tidemill.core.wire import utc_now
from tidemill.feedback import service as feedback
from tidemill.feedback.types import Feedback, ScoreCreate
from tidemill.gateway import service as gateway
from tidemill.gateway.call_journal import CallJournal
from tidemill.gateway.types import ShadowResult, Usage
from tidemill.rollouts.comparison import ShadowComparison
from tidemill.rollouts.types import Rollout
from tidemill.server.app import build_kernel
from tidemill.traces import service as traces
from tidemill.traces.receiver import OtlpReceiver
from tidemill.traces.service import TraceStore, TraceWriter
from tidemill.traces.types import TraceFilter

MARK = "Quetzalwort"
"""Short, as what is secret mostly is: 200 characters were kept once."""


@pytest.fixture
def off(home: Path, database_url: str) -> Iterator[Kernel]:
    url = None if database_url.startswith("sqlite") else database_url
    kernel = build_kernel(Settings(home=home, database_url=url, trace_content="off"))
    yield kernel
    kernel.close()


def everything(kernel: Kernel) -> bytes:
    """All bytes of the home, of the opened blocks of spans, and on PostgreSQL of every row of every table."""
    parts = [path.read_bytes() for path in kernel.settings.home.rglob("*") if path.is_file()]
    for day in kernel.get(TraceStore).list_days():
        with kernel.get(TraceStore).days.read(day) as reader:
            assert reader is not None
            blocks = [row[0] for row in reader.rows("SELECT data FROM blocks")]
        parts += [zstandard.ZstdDecompressor().decompress(data) for data in blocks]
    if not kernel.db.is_sqlite:
        with kernel.db.read() as conn:
            tables = conn.execute(
                sa.text("SELECT schemaname, tablename FROM pg_tables WHERE schemaname !~ '^(pg_|information)'")
            ).all()
            for schema, table in tables:
                rows = conn.execute(sa.text(f'SELECT t::text FROM "{schema}"."{table}" t')).scalars()
                parts += [row.encode() for row in rows]
    return b"".join(parts)


def has_mark(data: bytes) -> bool:
    return MARK.lower().encode() in data.lower()


def test_a_call_leaves_names_and_figures_only(off: Kernel, tmp_path: Path) -> None:
    call = {"id": f"call_{MARK}", "type": "function", "function": {"name": "f", "arguments": f'{{"a": "{MARK}"}}'}}
    delta: dict[str, Any] = {"role": "assistant", "content": MARK, "reasoning_content": MARK, "tool_calls": [call]}
    fields: dict[str, Any] = {
        "messages": [
            {"role": "system", "content": f"You are {MARK}."},
            {"role": "user", "content": [{"type": "text", "text": MARK}], "name": MARK},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": f"call_{MARK}", "content": MARK},
        ],
        "stop": [MARK],
        "tools": [{"type": "function", "function": {"name": "f", "description": MARK, "parameters": {"title": MARK}}}],
        "metadata": {"note": MARK},
        "temperature": 0.25,
        "user": "ada",
        "stream": True,
    }
    journal = CallJournal(off.settings.home / "run" / "calls.journal")
    said = [event(choices=[{"index": 0, "delta": delta, "finish_reason": None}])]
    done = [event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]), USAGE, END]
    fault = [event(error={"message": f"cannot say {MARK}"})]
    for chunks in (said + done, said + fault, said):
        came = asyncio.run(ask(off, PROGRESS, *chunks, until=lambda _: False, journal=journal, **fields))
        assert has_mark(came)
    assert not has_mark(everything(off))
    with off.read(OWNER) as ctx:
        calls = gateway.list_calls(ctx, user="ada").items
        (good,) = [recorded for recorded in calls if recorded.status == "ok"]
        span = traces.get_span(ctx, good.trace_id, good.span_id)
    assert len(calls) == 3
    assert (good.prompt_tokens, good.completion_tokens, good.finish_reason) == (40, 2, "stop")
    assert (span.input, span.output, span.attributes["gen_ai.request.temperature"]) == (None, None, 0.25)
    assert {recorded.error_code for recorded in calls} == {None, "engine_refused", "upstream_timeout"}


def test_spans_leave_names_and_figures_only(off: Kernel) -> None:
    body = request(1, attributes={"gen_ai.request.model": "small", "gen_ai.usage.input_tokens": 7})
    (resource,) = body.resource_spans
    (span,) = resource.scope_spans[0].spans
    texts = [
        "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions", "gen_ai.prompt",
        "gen_ai.completion.0.content", "gen_ai.tool.call.arguments", "gen_ai.tool.call.result",
        "gen_ai.tool.description", "input.value", "output.value", "llm.input_messages.0.message.content",
        "llm.prompt_template.template", "ai.prompt", "ai.response.text", "ai.toolCall.args",
        "traceloop.entity.input", "mlflow.spanInputs",
        "logfire.msg", "db.query.text", "url.full", "http.request.header.cookie", "my.own.note", "tidemill.live",
        "tidemill.anything", "exception.message", "exception.stacktrace", "process.command_args",
    ]  # fmt: skip
    for name in texts:
        attribute = span.attributes.add()
        attribute.key, attribute.value.string_value = name, f"say {MARK}"
    nested = span.attributes.add()
    nested.key = "my.map"
    inner = nested.value.kvlist_value.values.add()
    inner.key, inner.value.string_value = "a", MARK
    listed = span.attributes.add()
    listed.key = "my.list"
    listed.value.array_value.values.add().string_value = MARK
    for name in ("exception", "gen_ai.user.message", "gen_ai.choice", "log"):
        happened = span.events.add(name=name, time_unix_nano=span.start_time_unix_nano)
        for key in ("exception.message", "exception.stacktrace", "content", "message", "gen_ai.event.content"):
            attribute = happened.attributes.add()
            attribute.key, attribute.value.string_value = key, MARK
        attribute = happened.attributes.add()
        attribute.key, attribute.value.string_value = "exception.type", "ValueError"
    link = span.links.add(trace_id=b"t" * 16, span_id=b"s" * 8).attributes.add()
    link.key, link.value.string_value = "why", MARK
    owner = resource.resource.attributes.add()
    owner.key, owner.value.string_value = "process.command_line", MARK
    span.status.code, span.status.message = 2, f"cannot say {MARK}"

    assert asyncio.run(send(off, body.SerializeToString())) == 200
    assert not has_mark(everything(off))
    with off.read(OWNER) as ctx:
        (stored,) = traces.list_spans(ctx, utc_now() - timedelta(hours=1), utc_now(), TraceFilter())
        assert traces.search_spans(ctx, MARK).items == []
    assert (stored.model, stored.input_tokens, stored.status, stored.service) == ("small", 7, "error", "shop")
    assert {occurred.attributes.get("exception.type") for occurred in stored.events} == {"ValueError"}


async def send(kernel: Kernel, body: bytes) -> int:
    receiver, statuses = OtlpReceiver(None, kernel.get(TraceWriter)), list[int]()  # type: ignore[arg-type]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def reply(message: Any) -> None:
        statuses.append(message.get("status", 0))

    headers = [(name.encode(), value.encode()) for name, value in PROTOBUF.items()]
    scope = {"type": "http", "method": "POST", "path": "/v1/traces", "headers": headers, LOCAL_SCOPE: True}
    await receiver(scope, receive, reply)
    return statuses[0]


@pytest.mark.parametrize("error", [None, f"engine_refused: cannot say {MARK}"])
def test_shadow_copies_and_scores_leave_no_text(off: Kernel, error: str | None) -> None:
    rollout = Rollout.model_construct(
        id="ro_1", release="hello@2", release_id="rel_2", deployment_id="dep_2", environment="dev"
    )
    result = ShadowResult(
        call_id="chatcmpl-1", input=({"role": "user", "content": MARK},), live=MARK, live_ms=5.0,
        text=None if error else MARK, ms=6.0, usage=Usage(prompt_tokens=4, completion_tokens=2), user="ada",
        session=None, error=error,
    )  # fmt: skip
    (pair,) = ShadowComparison(rollout, None).judge(off, utc_now(), [result])
    assert not has_mark(pair.model_dump_json().encode())
    assert (pair.tokens, pair.error) == (6, "engine_refused" if error else None)
    with off.read(OWNER) as ctx:
        (span,) = traces.list_spans(ctx, utc_now() - timedelta(hours=1), utc_now(), TraceFilter())
    with off.write(OWNER) as ctx:
        said = {"trace_id": span.trace_id, "span_id": span.span_id}
        given = feedback.give_feedback(
            ctx, Feedback.model_validate(said | {"thumbs": "down", "comment": MARK, "correction": {"answer": MARK}})
        )
        scored = feedback.record_score(
            ctx, ScoreCreate.model_validate(said | {"name": "tone", "score": 0.5, "comment": MARK})
        )
    assert (given.value, given.comment, given.correction, scored.comment) == (0.0, None, None, None)
    assert not has_mark(everything(off))
    assert json.loads(pair.model_dump_json())["live"] == ""
