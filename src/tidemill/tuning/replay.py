"""Replaying prompts against an engine that serves a GGUF file."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from tidemill.tuning.chat_template import Message
from tidemill.tuning.parity import Reply
from tidemill.tuning.types import ParityFailed

TIMEOUT = httpx.Timeout(120.0, connect=5.0)


def by_tokens(url: str, prompts: Sequence[list[int]], *, max_tokens: int, parallel: int) -> list[Reply]:
    """Greedy answers to prompts given as token ids: the weights alone are under test."""

    def ask(ids: list[int]) -> Reply:
        body = {"prompt": ids, "n_predict": max_tokens, "temperature": 0.0, "cache_prompt": False, "top_k": 1}
        return Reply(None, str(_post(url, "/completion", body)["content"]))

    return _all(ask, prompts, parallel)


def by_chat(url: str, chats: Sequence[list[Message]], *, max_tokens: int, parallel: int) -> list[Reply]:
    """Greedy answers to chats, as a caller would ask, and the token ids that the engine reads them as."""

    def ask(messages: list[Message]) -> Reply:
        text = _post(url, "/apply-template", {"messages": messages})["prompt"]
        ids = _post(url, "/tokenize", {"content": text, "add_special": True, "parse_special": True})["tokens"]
        body = {"messages": messages, "max_tokens": max_tokens, "temperature": 0.0, "top_k": 1}
        said = _post(url, "/v1/chat/completions", body)["choices"][0]["message"]["content"]
        return Reply(ids, str(said or ""))

    return _all(ask, chats, parallel)


def _all(ask: Any, items: Sequence[Any], parallel: int) -> list[Reply]:
    with ThreadPoolExecutor(max_workers=parallel, thread_name_prefix="replay") as pool:
        return list(pool.map(ask, items))


def _post(url: str, path: str, body: dict[str, Any]) -> Any:
    # A connection each: the engine has been seen to fail on a connection that served a stream before.
    reply = httpx.post(url + path, json=body, timeout=TIMEOUT)
    if reply.is_error:
        raise ParityFailed(
            f"The engine answered {reply.status_code} to {path}: {reply.text[:200]}",
            hint="The model may not fit the engine; see the engine's log.",
        )
    return json.loads(reply.content)
