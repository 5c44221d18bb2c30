"""`/v1` as bare ASGI: authenticates the caller, routes the request and turns every error into a response."""

import logging
import time

from tidemill.access.service import require
from tidemill.core.asgi import (
    Authenticator,
    BodyLimit,
    ByteBudget,
    ClientDisconnected,
    Receive,
    Scope,
    Send,
    authenticate,
    read_body,
    too_many_bytes,
)
from tidemill.core.errors import Failed, TidemillError
from tidemill.core.wire import new_id
from tidemill.gateway.call_recorder import CallRecorder
from tidemill.gateway.completion import ChatCompletionHandler
from tidemill.gateway.engine_time import EngineTime
from tidemill.gateway.request_metadata import read_metadata
from tidemill.gateway.response import ResponseWriter
from tidemill.gateway.types import ModelObject, Router, UnknownRoute, unknown_model
from tidemill.gateway.upstream import Upstream

log = logging.getLogger("tidemill.gateway")


class GatewayApp:
    """The ASGI application for `/v1`, except `/v1/traces`."""

    def __init__(
        self,
        keys: Authenticator,
        router: Router,
        recorder: CallRecorder,
        upstream: Upstream,
        max_body_bytes: int,
        max_bytes_inside: int = 256 << 20,
    ) -> None:
        """`max_bytes_inside`: of the bodies of all requests that are being answered."""
        self.recorder = recorder
        self._keys = keys
        self._router = router
        self._upstream = upstream
        self._engine_time = EngineTime()
        self._body_limit = BodyLimit(max_body_bytes, hint="Send less, or raise TIDEMILL_MAX_BODY_BYTES.")
        self._budget = ByteBudget(max_bytes_inside, too_many_bytes)

    async def start(self) -> None:
        """Record the calls that an earlier server did not end; the rest starts with the first request."""
        self.recorder.recover()

    async def stop(self) -> None:
        """Record the calls that wait and close the connections to the engines."""
        await self.recorder.close()
        await self._upstream.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        response = ResponseWriter(send, request_id=new_id("req"), began=time.perf_counter())
        try:
            await self._handle(scope, receive, response)
        except TidemillError as error:
            await response.fail(error)
        except ClientDisconnected:
            log.debug("%s: the client disconnected", response.request_id)
        except Exception:
            log.exception("request %s failed", response.request_id)
            text = f"Something went wrong inside the server (request {response.request_id})."
            await response.fail(Failed(text, hint="The server's log has the details under this request id."))

    async def _handle(self, scope: Scope, receive: Receive, response: ResponseWriter) -> None:
        actor = await authenticate(scope, self._keys)
        require(actor, "viewer")
        method, path = scope["method"], scope["path"].rstrip("/")
        if path == "/v1/chat/completions" and method == "POST":
            handler = ChatCompletionHandler(
                self._router,
                self._upstream,
                self.recorder,
                self._engine_time,
                actor,
                read_metadata(scope["headers"]),
                response,
            )
            with self._budget.admit() as admission:
                await handler.run(await read_body(scope, receive, self._body_limit, admission), receive)
        elif path == "/v1/models" and method == "GET":
            cards = await self._router.models()
            await response.json(200, {"object": "list", "data": [card.model_dump() for card in cards]})
        elif path.startswith("/v1/models/") and method == "GET":
            await response.json(200, (await self._card(path.removeprefix("/v1/models/"))).model_dump())
        else:
            raise UnknownRoute(
                f"There is nothing at {method} {scope['path']}.",
                hint="Here are POST /v1/chat/completions, GET /v1/models and GET /v1/models/{id}.",
            )

    async def _card(self, name: str) -> ModelObject:
        cards = {card.id: card for card in await self._router.models()}
        if name not in cards:
            raise unknown_model(name, list(cards))
        return cards[name]
