"""`/v1` as bare ASGI: who calls, which replica answers, the answer on its way, and its entry in the books."""

import asyncio
import logging
import time
from collections.abc import Callable, MutableMapping
from typing import Any, Protocol

from tidemill.core.actors import OWNER, Actor
from tidemill.core.errors import Failed, TidemillError, TooLarge
from tidemill.core.http import LOCAL_SCOPE
from tidemill.core.wire import new_id
from tidemill.gateway import sender
from tidemill.gateway.books import Bookkeeper
from tidemill.gateway.engine_time import EngineTime
from tidemill.gateway.exchange import Exchange
from tidemill.gateway.line import HungUp, Line
from tidemill.gateway.types import ModelCard, Router, UnknownRoute, unknown_model
from tidemill.gateway.upstream import Upstream

log = logging.getLogger("tidemill.gateway")


class Keys(Protocol):
    """Knows whose a key is."""

    def authenticate(self, token: str | None) -> Actor:
        """Who calls; may ask the database."""
        ...

    def remembered(self, token: str) -> Actor | None:
        """Who calls, when that is known without asking."""
        ...


class Gateway:
    """The application behind `/v1`."""

    def __init__(self, keys: Keys, router: Router, books: Bookkeeper, upstream: Upstream, max_body_bytes: int) -> None:
        self.books = books
        self._keys = keys
        self._router = router
        self._upstream = upstream
        self._engine_time = EngineTime()
        self._max_body_bytes = max_body_bytes

    async def start(self) -> None:
        """Nothing to do: connections and the writer start with the first request."""

    async def stop(self) -> None:
        """Write the last entries and close the connections."""
        await self.books.close()
        await self._upstream.close()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Handle one request."""
        line = Line(send, request_id=new_id("req"), began=time.perf_counter())
        try:
            await self._handle(scope, receive, line)
        except TidemillError as error:
            await line.fail(error)
        except HungUp:
            log.debug("%s hung up", line.request_id)
        except Exception:
            log.exception("request %s failed", line.request_id)
            text = f"Something went wrong inside the server (request {line.request_id})."
            await line.fail(Failed(text, hint="The server's log has the details under this request id."))

    async def _handle(self, scope: MutableMapping[str, Any], receive: Any, line: Line) -> None:
        actor = await self._caller(scope)
        method, path = scope["method"], scope["path"].rstrip("/")
        if path == "/v1/chat/completions" and method == "POST":
            body = await self._body(receive, scope)
            sent_by = sender.read(scope["headers"])
            exchange = Exchange(self._router, self._upstream, self.books, self._engine_time, actor, sent_by, line)
            await exchange.run(body, receive)
        elif path == "/v1/models" and method == "GET":
            cards = await self._router.models()
            await line.json(200, {"object": "list", "data": [card.model_dump() for card in cards]})
        elif path.startswith("/v1/models/") and method == "GET":
            await line.json(200, (await self._card(path.removeprefix("/v1/models/"))).model_dump())
        else:
            raise UnknownRoute(
                f"There is nothing at {method} {scope['path']}.",
                hint="Here are POST /v1/chat/completions, GET /v1/models and GET /v1/models/{id}.",
            )

    async def _card(self, name: str) -> ModelCard:
        cards = {card.id: card for card in await self._router.models()}
        if name not in cards:
            raise unknown_model(name, list(cards))
        return cards[name]

    async def _caller(self, scope: MutableMapping[str, Any]) -> Actor:
        token = _token(scope)
        if scope.get(LOCAL_SCOPE) and token is None:
            return OWNER
        known = self._keys.remembered(token) if token else None
        if known is not None:
            return known
        find: Callable[[str | None], Actor] = self._keys.authenticate
        return await asyncio.to_thread(find, token)

    async def _body(self, receive: Any, scope: MutableMapping[str, Any]) -> bytes:
        limit = self._max_body_bytes
        error = TooLarge(f"The body is larger than {limit} bytes.", hint="Send less, or raise TIDEMILL_MAX_BODY_BYTES.")
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > limit:
                raise error
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise HungUp
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > limit:
                raise error
            if not message.get("more_body"):
                return b"".join(parts)


def _token(scope: MutableMapping[str, Any]) -> str | None:
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, token = value.decode("latin-1").partition(" ")
            return token.strip() if scheme.lower() == "bearer" else None
    return None
