"""A call asked once more of a release that is tried out. No caller sees the answer, and none waits for it."""

import time
from typing import Any

import msgspec

from tidemill.core.errors import TidemillError
from tidemill.gateway import chat
from tidemill.gateway.spans import Outcome
from tidemill.gateway.types import Lease, Mirrored, Usage
from tidemill.gateway.upstream import Upstream


async def ask(
    upstream: Upstream, request: chat.ChatRequest, live: Outcome, live_ms: float, call_id: str, lease: Lease
) -> Mirrored:
    """Ask `lease`'s engine what the live one has answered. What goes wrong is part of the result."""
    began = time.perf_counter()
    text, usage, error = None, Usage(), None
    try:
        messages = chat.messages_for(request, lease.target)
        body, _ = chat.for_engine(request, lease.target, messages)
        assembly = chat.Assembly()
        async with upstream.chat(lease.target, body) as reply:
            if request.stream or chat.streams_inside(request):
                async for data in reply.events():
                    assembly.add(msgspec.json.decode(data))
                said = assembly.whole()
            else:
                said = await reply.whole()
        text, usage = text_of(said), usage_of(said)
    except TidemillError as failure:
        error = f"{failure.code}: {failure.message}"
    return Mirrored(
        call_id=call_id,
        input=tuple(request.fields["messages"]),
        live=text_of({"choices": [{"message": message} for message in live.speech.messages() or []]}),
        live_ms=live_ms,
        text=text,
        ms=(time.perf_counter() - began) * 1000,
        usage=usage,
        user=request.user,
        session=request.session,
        error=error,
    )


def text_of(said: dict[str, Any]) -> str:
    """The text of the first choice; what it calls, when it calls a tool."""
    message = (said.get("choices") or [{}])[0].get("message") or {}
    content = message.get("content")
    if isinstance(content, str) and content:
        return content
    return msgspec.json.encode(message.get("tool_calls") or content or "").decode()


def usage_of(said: dict[str, Any]) -> Usage:
    """What it took."""
    usage = said.get("usage") or {}
    return Usage(prompt_tokens=usage.get("prompt_tokens", 0), completion_tokens=usage.get("completion_tokens", 0))
