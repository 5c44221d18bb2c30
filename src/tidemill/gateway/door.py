"""`/v1` as bare ASGI: who calls, which replica answers, the answer on its way, and its entry in the books."""

import logging
import time

from tidemill.core.asgi import (
    Authenticator,
    BodyLimit,
    ClientDisconnected,
    Receive,
    Scope,
    Send,
    authenticate,
    read_body,
)
from tidemill.core.errors import Failed, TidemillError
from tidemill.core.wire import new_id
from tidemill.gateway import sender
from tidemill.gateway.books import Bookkeeper
from tidemill.gateway.engine_time import EngineTime
from tidemill.gateway.exchange import Exchange
from tidemill.gateway.line import Line
from tidemill.gateway.types import ModelCard, Router, UnknownRoute, unknown_model
from tidemill.gateway.upstream import Upstream

log = logging.getLogger("tidemill.gateway")


class Gateway:
    """The application behind `/v1`."""

    def __init__(
        self, keys: Authenticator, router: Router, books: Bookkeeper, upstream: Upstream, max_body_bytes: int
    ) -> None:
        self.books = books
        self._keys = keys
        self._router = router
        self._upstream = upstream
        self._engine_time = EngineTime()
        self._body_limit = BodyLimit(max_body_bytes, hint="Send less, or raise TIDEMILL_MAX_BODY_BYTES.")

    async def start(self) -> None:
        """Nothing to do: connections and the writer start with the first request."""

    async def stop(self) -> None:
        """Write the last entries and close the connections."""
        await self.books.close()
        await self._upstream.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        line = Line(send, request_id=new_id("req"), began=time.perf_counter())
        try:
            await self._handle(scope, receive, line)
        except TidemillError as error:
            await line.fail(error)
        except ClientDisconnected:
            log.debug("%s hung up", line.request_id)
        except Exception:
            log.exception("request %s failed", line.request_id)
            text = f"Something went wrong inside the server (request {line.request_id})."
            await line.fail(Failed(text, hint="The server's log has the details under this request id."))

    async def _handle(self, scope: Scope, receive: Receive, line: Line) -> None:
        actor = await authenticate(scope, self._keys)
        method, path = scope["method"], scope["path"].rstrip("/")
        if path == "/v1/chat/completions" and method == "POST":
            body = await read_body(scope, receive, self._body_limit)
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
