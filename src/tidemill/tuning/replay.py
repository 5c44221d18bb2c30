"""Replaying prompts against an engine that serves a GGUF file."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from tidemill.tuning.chat_template import Message
from tidemill.tuning.parity import ProofAnswer
from tidemill.tuning.types import ParityFailed

TIMEOUT = httpx.Timeout(120.0, connect=5.0)


def by_tokens(url: str, prompts: Sequence[list[int]], *, max_tokens: int, parallel: int) -> list[ProofAnswer]:
    """Return greedy answers to prompts given as token ids: the weights alone are under test."""

    def ask(http: httpx.Client, ids: list[int]) -> ProofAnswer:
        body = {"prompt": ids, "n_predict": max_tokens, "temperature": 0.0, "cache_prompt": False, "top_k": 1}
        return ProofAnswer(None, str(_post(http, "/completion", body)["content"]))

    return _all(url, ask, prompts, parallel)


def by_chat(url: str, chats: Sequence[list[Message]], *, max_tokens: int, parallel: int) -> list[ProofAnswer]:
    """Return greedy answers to chats, as a caller would ask, and the token ids that the engine reads them as."""

    def ask(http: httpx.Client, messages: list[Message]) -> ProofAnswer:
        text = _post(http, "/apply-template", {"messages": messages})["prompt"]
        ids = _post(http, "/tokenize", {"content": text, "add_special": True, "parse_special": True})["tokens"]
        body = {"messages": messages, "max_tokens": max_tokens, "temperature": 0.0, "top_k": 1}
        answer = _post(http, "/v1/chat/completions", body)["choices"][0]["message"]["content"]
        return ProofAnswer(ids, str(answer or ""))

    return _all(url, ask, chats, parallel)


def _all(
    url: str, ask: Callable[[httpx.Client, Any], ProofAnswer], items: Sequence[Any], parallel: int
) -> list[ProofAnswer]:
    # A connection each: the engine has been seen to fail on a connection that served a stream before. But one client
    # for all: making one costs 24 ms, more than the engine takes for a short prompt.
    limits = httpx.Limits(max_keepalive_connections=0)
    with (
        httpx.Client(base_url=url, timeout=TIMEOUT, limits=limits) as http,
        ThreadPoolExecutor(max_workers=parallel, thread_name_prefix="replay") as pool,
    ):
        return list(pool.map(lambda item: ask(http, item), items))


def _post(http: httpx.Client, path: str, body: dict[str, Any]) -> Any:
    reply = http.post(path, json=body)
    if reply.is_error:
        raise ParityFailed(
            f"The engine answered {reply.status_code} to {path}: {reply.text[:200]}",
            hint="The model may not fit the engine; see the engine's log.",
        )
    return json.loads(reply.content)
