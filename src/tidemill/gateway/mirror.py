"""A call asked once more of a release that is tried out. No caller sees the answer, and none waits for it."""

import time

import msgspec

from tidemill.core.errors import TidemillError
from tidemill.gateway import chat
from tidemill.gateway.accumulator import CompletionAccumulator
from tidemill.gateway.spans import Outcome
from tidemill.gateway.types import Lease, Mirrored
from tidemill.gateway.upstream import Upstream


async def ask(
    upstream: Upstream, request: chat.ChatRequest, live: Outcome, live_ms: float, call_id: str, lease: Lease
) -> Mirrored:
    """Ask `lease`'s engine what the live one has answered. What goes wrong is part of the result."""
    began = time.perf_counter()
    answer, text, error = CompletionAccumulator(), None, None
    try:
        messages = chat.messages_for(request, lease.target)
        body, _ = chat.for_engine(request, lease.target, messages)
        async with upstream.chat(lease.target, body) as reply:
            if request.stream or chat.streams_inside(request):
                async for data in reply.events():
                    answer.add(msgspec.json.decode(data))
            else:
                answer.set_completion(await reply.whole())
        text = text_of(answer)
    except TidemillError as failure:
        error = f"{failure.code}: {failure.message}"
    return Mirrored(
        call_id=call_id,
        input=tuple(request.fields["messages"]),
        live=text_of(live.answer),
        live_ms=live_ms,
        text=text,
        ms=(time.perf_counter() - began) * 1000,
        usage=answer.usage,
        user=request.user,
        session=request.session,
        error=error,
    )


def text_of(answer: CompletionAccumulator) -> str:
    """Return the text of the first choice; without one, its tool calls as JSON."""
    text = answer.text()
    if text:
        return text
    message = (answer.messages() or [{}])[0]
    return msgspec.json.encode(message.get("tool_calls") or message.get("content") or "").decode()
