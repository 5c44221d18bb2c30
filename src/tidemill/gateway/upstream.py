"""HTTP client of the engines: one connection for each request, every failure as an error of its own."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from tidemill.core.errors import BadRequest, TidemillError
from tidemill.gateway.types import EngineDied, EngineRefused, ReplicaTarget, RequestInvalid, UpstreamTimeout

if TYPE_CHECKING:
    import aiohttp

CONNECT_S = 5.0
READ_TIMEOUT_S = 300.0
"""Seconds an engine may send nothing: a long prompt on a slow machine takes minutes before its first token."""
_CALLERS_FAULTS = (
    "Failed to parse ",
    "Failed to initialize samplers",
    "The model produced output that does not match",  # of a schema whose pattern broke the JSON around it
    "Unexpected empty grammar stack",  # of a schema that nothing can satisfy
)
"""What llama.cpp says in errors about a request, whatever status it gives them."""
_FIELD = re.compile(r"Field '(\w+)'")


class ContextTooLong(BadRequest):
    """The messages and the answer do not fit the model's context."""

    code = "context_length_exceeded"


class EngineResponse:
    """An engine's response with status 200, not read yet."""

    def __init__(self, response: "aiohttp.ClientResponse") -> None:
        self._response = response

    async def read(self) -> dict[str, Any]:
        """Return the whole body, decoded."""
        completion: dict[str, Any] = msgspec.json.decode(await self._response.read())
        return completion

    async def events(self) -> AsyncIterator[bytes]:
        """Yield the data of each server-sent event before `[DONE]`. Raises EngineDied if the stream ends without it."""
        rest = b""
        # By what the socket brings, not by lines: two wake-ups less for each token.
        async for received in self._response.content.iter_any():
            *events, rest = (rest + received).split(b"\n\n")
            for event in events:
                data = event.strip().removeprefix(b"data:").strip()
                if data == b"[DONE]":
                    return
                if data and not data.startswith(b":"):
                    yield data
        raise EngineDied("The engine stopped in the middle of its answer.", hint="Try again.")


class Upstream:
    """An HTTP client for engines.

    llama.cpp's server drops a connection that is used again after a streamed reply now and then, so each request
    opens its own; on loopback that costs about 0.1 ms.
    """

    def __init__(self, read_timeout_s: float = READ_TIMEOUT_S) -> None:
        self._read_timeout_s = read_timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections to the engines."""
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def chat(self, target: ReplicaTarget, body: bytes) -> AsyncIterator[EngineResponse]:
        """Send a chat request to `target`. Leaving the block early disconnects, which makes the engine stop.

        Raises EngineDied, EngineRefused, UpstreamTimeout, ContextTooLong, RequestInvalid.
        """
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(force_close=True, limit=0),
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_S, sock_read=self._read_timeout_s),
                read_bufsize=2**20,
                auto_decompress=False,
                trust_env=False,
            )
        try:
            async with self._session.post(
                f"{target.base_url}/v1/chat/completions", data=body, headers={"content-type": "application/json"}
            ) as response:
                if response.status != 200:
                    raise _refusal(response.status, await response.read())
                yield EngineResponse(response)
        except TimeoutError as error:
            raise UpstreamTimeout(
                f"The engine said nothing for {self._read_timeout_s:g} s.", hint="Ask for fewer tokens, or try again."
            ) from error
        except (aiohttp.ClientError, msgspec.DecodeError, RecursionError, OSError) as error:
            raise EngineDied(
                f"The engine ended before its answer was complete ({type(error).__name__}).", hint="Try again."
            ) from error


def _refusal(status: int, body: bytes) -> TidemillError:
    try:
        error = msgspec.json.decode(body)["error"]
    except (msgspec.DecodeError, RecursionError, UnicodeError, KeyError, TypeError):
        error = body[:200].decode(errors="replace")
    return engine_error(status, error)


def engine_error(status: int, error: object) -> TidemillError:
    """Return the error for one that the engine has given as its answer: it has not died, and is not asked again.

    `error` is what stands under `error` in the engine's reply, a message or an object with one.
    """
    values: dict[str, Any] = error if isinstance(error, dict) else {"message": error}
    message, kind = str(values.get("message", error)), str(values.get("type", ""))
    if kind == "exceed_context_size_error" or "context size" in message.lower():
        return ContextTooLong(f"The request is too long: {message}.", hint="Send fewer or shorter messages.")
    if 400 <= status < 500 or any(words in message for words in _CALLERS_FAULTS):
        field = _FIELD.match(message)
        return RequestInvalid(f"The engine refuses the request: {message}", param=field[1] if field else None)
    return EngineRefused(f"The engine answered {status}: {message}", hint="The replica's log says more.")
