"""Ask an OpenAI-compatible chat endpoint, with retries for what passes and none for what does not."""

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from tidemill.core.errors import ErrorBody, TidemillError
from tidemill.core.parsing import parse_json
from tidemill.evals.types import TargetRefused

if TYPE_CHECKING:
    import aiohttp

LONGEST_WAIT = 60.0
_RETRIED = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_REFUSED = {401, 403, 404}


@dataclass(frozen=True)
class ChatAnswer:
    """The answer to one request: a text, or the error in its place."""

    text: str | None
    error: ErrorBody | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    latency_ms: float | None = None
    attempts: int = 1


@dataclass(frozen=True)
class ChatEndpoint:
    """Where to ask, how often, and how long to wait (seconds)."""

    base_url: str
    api_key: str | None = None
    attempts: int = 5
    timeout: float = 120.0
    first_wait: float = 0.5
    headers: Mapping[str, str] = field(default_factory=dict)

    def session(self, concurrency: int) -> "aiohttp.ClientSession":
        """Return a session for at most so many requests at once; the caller closes it."""
        import aiohttp

        headers = dict(self.headers)
        if self.api_key:
            headers["authorization"] = f"Bearer {self.api_key}"
        return aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=self.timeout),
            connector=aiohttp.TCPConnector(limit=concurrency),
        )


class AttemptFailed(Exception):
    """One attempt without an answer; `again` says whether another may help, `wait` the seconds the target asks for."""

    def __init__(self, code: str, message: str, *, again: bool, wait: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.again = again
        self.wait = wait


async def ask(session: "aiohttp.ClientSession", endpoint: ChatEndpoint, body: Mapping[str, Any]) -> ChatAnswer:
    """Return one answer. Waits and tries again on 429, 5xx, timeouts and broken connections, and obeys Retry-After.

    What fails in the end is an Answer with an error, so that one item never ends a run. Raises TargetRefused for 401,
    403 and 404, which every other item would get as well.
    """
    for attempt in range(1, endpoint.attempts + 1):
        began = time.perf_counter()
        try:
            reply = await _once(session, endpoint, body)
        except AttemptFailed as failure:
            if not failure.again or attempt == endpoint.attempts:
                return ChatAnswer(None, error=_body(failure, attempt), attempts=attempt)
            await asyncio.sleep(_pause(failure, attempt, endpoint.first_wait))
        else:
            return _answer(reply, (time.perf_counter() - began) * 1000, attempt)
    raise AssertionError("unreachable: the last attempt returns")


async def _once(session: "aiohttp.ClientSession", endpoint: ChatEndpoint, body: Mapping[str, Any]) -> dict[str, Any]:
    import aiohttp

    url = endpoint.base_url.rstrip("/") + "/chat/completions"
    try:
        async with session.post(url, json=body) as reply:
            content = await reply.read()
            if reply.status != 200:
                raise _refusal(reply, content, url)
            value = _json(content)
    except TimeoutError as error:
        raise AttemptFailed("timeout", f"no answer within {endpoint.timeout:g} s", again=True) from error
    except aiohttp.ClientError as error:
        text = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise AttemptFailed("connection_failed", text, again=True) from error
    _message(value)
    return value


def _json(content: bytes) -> dict[str, Any]:
    try:
        value = parse_json(content)
    except ValueError as error:
        raise AttemptFailed("not_json", f"the reply is not JSON: {content[:80]!r}", again=True) from error
    if not isinstance(value, dict):
        raise AttemptFailed("not_a_completion", f"the reply is no JSON object: {content[:80]!r}", again=True)
    return value


def _message(reply: dict[str, Any]) -> dict[str, Any]:
    choices = reply.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    if not isinstance(message, dict) or not isinstance(message.get("content"), str | None):
        raise AttemptFailed("not_a_completion", f"the reply is no chat completion: {str(reply)[:80]}", again=True)
    return message


def _answer(reply: dict[str, Any], latency_ms: float, attempt: int) -> ChatAnswer:
    message = _message(reply)
    usage = reply.get("usage") if isinstance(reply.get("usage"), dict) else {}
    return ChatAnswer(
        text=message.get("content") or "",
        finish_reason=_of_type(reply["choices"][0].get("finish_reason"), str),
        prompt_tokens=_of_type(usage.get("prompt_tokens"), int) if usage else None,
        output_tokens=_of_type(usage.get("completion_tokens"), int) if usage else None,
        latency_ms=latency_ms,
        attempts=attempt,
    )


def _of_type(value: Any, kind: type) -> Any:
    return value if isinstance(value, kind) else None


def _refusal(reply: "aiohttp.ClientResponse", content: bytes, url: str) -> AttemptFailed | TidemillError:
    text = _error_text(content)
    if reply.status in _REFUSED:
        return TargetRefused(
            f"{url} answered {reply.status}: {text}",
            hint="Check the key, the model's name and the address; no item can be answered like this.",
            details={"status": reply.status},
        )
    again = reply.status in _RETRIED or reply.status >= 500
    wait = retry_after(reply.headers.get("retry-after")) if again else None
    return AttemptFailed(f"http_{reply.status}", f"status {reply.status}: {text}", again=again, wait=wait)


def _error_text(content: bytes) -> str:
    try:
        error = parse_json(content)["error"]
        text = error["message"] if isinstance(error, dict) else str(error)
    except (ValueError, KeyError, TypeError):
        text = content.decode(errors="replace")
    return str(text).strip()[:300] or "(empty)"


def retry_after(value: str | None) -> float | None:
    """Return the seconds that a Retry-After header (seconds or an HTTP date) asks for; None when it says nothing."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (when.astimezone(UTC) - datetime.now(UTC)).total_seconds()
    return min(max(0.0, seconds), LONGEST_WAIT) if seconds == seconds else None


def _pause(failure: AttemptFailed, attempt: int, first_wait: float) -> float:
    if failure.wait is not None:
        return failure.wait
    # Full jitter over the second half, so that parallel requests do not come back together.
    return float(min(first_wait * 2 ** (attempt - 1), LONGEST_WAIT) * random.uniform(0.5, 1.0))


def _body(failure: AttemptFailed, attempts: int) -> ErrorBody:
    tries = "1 try" if attempts == 1 else f"{attempts} tries"
    return ErrorBody(message=f"{failure} (after {tries})", type="server_error", code=failure.code)
