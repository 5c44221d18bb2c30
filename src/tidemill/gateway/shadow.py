"""A call repeated against the candidate of a rollout. No caller sees the answer, and none waits for it."""

import time

import msgspec

from tidemill.core.errors import TidemillError
from tidemill.gateway.accumulator import CompletionAccumulator
from tidemill.gateway.chat_request import ChatRequest, build_messages, encode_engine_body, streams_internally
from tidemill.gateway.spans import CallProgress
from tidemill.gateway.types import Lease, ShadowResult
from tidemill.gateway.upstream import Upstream


async def ask_shadow(
    upstream: Upstream, request: ChatRequest, live: CallProgress, live_ms: float, call_id: str, lease: Lease
) -> ShadowResult:
    """Send a call that the live engine has answered to the engine of `lease`. An error becomes part of the result."""
    began = time.perf_counter()
    answer, text, error, size = CompletionAccumulator(), None, None, 0
    try:
        messages = build_messages(request, lease.target)
        body, _ = encode_engine_body(request, lease.target, messages)
        size = len(body)
        async with upstream.chat(lease.target, body) as engine_response:
            if request.stream or streams_internally(request):
                async for data in engine_response.events():
                    chunk = msgspec.json.decode(data)
                    if "prompt_progress" not in chunk:
                        answer.add(chunk)
            else:
                answer.set_completion(await engine_response.read())
        text = answer_text(answer)
    except TidemillError as failure:
        error = f"{failure.code}: {failure.message}"
    live_text = answer_text(live.answer)
    return ShadowResult(
        call_id=call_id,
        input=tuple(request.fields["messages"]),
        live=live_text,
        live_ms=live_ms,
        text=text,
        ms=(time.perf_counter() - began) * 1000,
        usage=answer.usage,
        user=request.user,
        session=request.session,
        error=error,
        size=size + len(live_text) + len(text or ""),
    )


def answer_text(answer: CompletionAccumulator) -> str:
    """Return the text of the first choice; without one, its tool calls as JSON."""
    text = answer.text()
    if text:
        return text
    message = (answer.messages() or [{}])[0]
    return msgspec.json.encode(message.get("tool_calls") or message.get("content") or "").decode()
