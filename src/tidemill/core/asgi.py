"""What the applications written as bare ASGI share: the caller, request bodies under a limit, and disconnects.

No framework in here: every chat request and every export of spans passes through these functions.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from tidemill.core.actors import OWNER, Actor
from tidemill.core.errors import BodyIncomplete, BodyTimeout, TidemillError, TooLarge, Unavailable

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

LOCAL_SCOPE = "tidemill.local"
"""Key in the ASGI scope that only the in-process transport can set: the caller owns the home folder."""


class ClientDisconnected(Exception):
    """The client closed the connection before its response was complete."""


class Authenticator(Protocol):
    """Maps API keys to actors."""

    def authenticate(self, token: str | None) -> Actor:
        """Return the actor whose key `token` is. May query the database. Raises Unauthorized."""
        ...

    def remembered(self, token: str) -> Actor | None:
        """Return the actor whose key `token` is if that is known without a query, else None."""
        ...


@dataclass(frozen=True)
class BodyLimit:
    """How large a request body may be, and the error that says so."""

    max_bytes: int
    hint: str
    error: type[TooLarge] = TooLarge

    def is_declared_over(self, headers: Headers) -> bool:
        """Return whether a Content-Length header declares more than the limit."""
        return any(
            n == b"content-length" and v.isdigit() and (len(v) > 18 or int(v) > self.max_bytes) for n, v in headers
        )

    def exceeded(self) -> TooLarge:
        """Return the error for a body over the limit."""
        return self.error(f"The body is larger than {self.max_bytes} bytes.", hint=self.hint)


BODY_TIMEOUT_S = 120.0
"""Seconds in which a body must be complete: one that never ends would be waited for without end."""


class ByteBudget:
    """Bytes of all requests that are inside at once. It belongs to one event loop."""

    def __init__(self, max_bytes: int, error: Callable[[], TidemillError]) -> None:
        """`error` makes the error for a request that does not fit now."""
        self.max_bytes = max_bytes
        self.used_bytes = 0
        self._error = error

    @contextmanager
    def admit(self) -> Iterator["Admission"]:
        """Let a request in; what it takes up is free again at the end of the block."""
        admission = Admission(self)
        try:
            yield admission
        finally:
            self.used_bytes -= admission.size

    def take(self, size: int, admission: "Admission") -> None:
        """Add bytes to a request. Raises the budget's error; a request that is alone is never too large."""
        if self.used_bytes + size > self.max_bytes and self.used_bytes > admission.size:
            raise self._error()
        self.used_bytes += size
        admission.size += size


class Admission:
    """What one request takes up of a budget."""

    def __init__(self, budget: ByteBudget) -> None:
        self.size = 0
        self._budget = budget

    def grow(self, size: int) -> None:
        """Take more bytes. Raises the budget's error."""
        self._budget.take(size, self)


def bearer_token(headers: Headers) -> str | None:
    """Return the token of `Authorization: Bearer <token>`; None without the header or with another scheme."""
    for name, value in headers:
        if name == b"authorization":
            scheme, _, token = value.decode("latin-1").partition(" ")
            return token.strip() if scheme.lower() == "bearer" else None
    return None


async def authenticate(scope: Scope, keys: Authenticator) -> Actor:
    """Return the caller of a request. Queries the database in a thread, and only for a key that is not remembered.

    Raises Unauthorized.
    """
    token = bearer_token(scope["headers"])
    if scope.get(LOCAL_SCOPE) and token is None:
        return OWNER
    actor = keys.remembered(token) if token else None
    if actor is not None:
        return actor
    return await asyncio.to_thread(keys.authenticate, token)


async def read_body(scope: Scope, receive: Receive, limit: BodyLimit, admission: Admission) -> bytes:
    """Return the whole body of a request, which takes up its size in `admission`.

    Raises the limit's error as soon as the declared or the received length exceeds it, the budget's when too many
    requests are inside already, BodyIncomplete when the client has closed its side of the connection before, and
    BodyTimeout after BODY_TIMEOUT_S.
    """
    if limit.is_declared_over(scope["headers"]):
        raise limit.exceeded()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await _read_parts(receive, limit, admission)
    except TimeoutError as error:
        raise BodyTimeout(
            f"The body was not complete after {BODY_TIMEOUT_S:g} s.", hint="Send it faster, or in smaller requests."
        ) from error


async def _read_parts(receive: Receive, limit: BodyLimit, admission: Admission) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            # Who has closed only one side can still read the answer.
            raise BodyIncomplete("The request ended before its body was complete.", hint="Send it again.")
        part = message.get("body", b"")
        size += len(part)
        if size > limit.max_bytes:
            raise limit.exceeded()
        admission.grow(len(part))
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


class BodyOverLimit(BaseException):
    """A body read through `limit_body` exceeds its limit, or does not fit in now: `error` says which.

    No Exception, because frameworks answer an Exception raised while they read a body as a bad request.
    """

    def __init__(self, error: TidemillError) -> None:
        super().__init__(error.message)
        self.error = error


def limit_body(receive: Receive, limit: BodyLimit, admission: Admission) -> Receive:
    """Return a `receive` for an application that reads the body itself.

    It raises BodyOverLimit with the error for a body over the limit, or one that does not fit in now.
    """
    size = 0

    async def receive_limited() -> Message:
        nonlocal size
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size > limit.max_bytes:
            raise BodyOverLimit(limit.exceeded())
        try:
            admission.grow(len(part))
        except TidemillError as error:
            raise BodyOverLimit(error) from error
        return message

    return receive_limited


def too_many_bytes() -> Unavailable:
    """Return the error for a request that comes while too many bytes of others are inside."""
    return Unavailable("Too many large requests are being answered now.", hint="Send it again in a moment.")


async def wait_for_disconnect(receive: Receive) -> None:
    """Return once the client has closed the connection. Call it after the body is read."""
    while (await receive())["type"] != "http.disconnect":
        pass


def error_headers(status: int) -> dict[str, str]:
    """Return the headers that every error response of this status carries, whichever application sends it."""
    if status == 401:
        return {"www-authenticate": "Bearer"}
    if status == 503:
        return {"retry-after": "1"}
    return {}


def encode_headers(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    """Return headers in the form ASGI wants."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
