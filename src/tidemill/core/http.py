"""How the SDK talks to a server: over the network, or to the same application in this process."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from tidemill.core.asgi import LOCAL_SCOPE, AsgiApp, Receive, Scope, Send
from tidemill.core.errors import ErrorReply, Failed, Invalid, NotFound, TidemillError, Unavailable, rebuild
from tidemill.core.wire import Page

V = TypeVar("V", bound=BaseModel)


class ServerUnreachable(Unavailable):
    """No server answers at the address."""

    code = "server_unreachable"


class NameUnknown(NotFound):
    """A name or an id cannot be one: the server has no such path."""

    code = "name_unknown"


class NameMissing(Invalid):
    """A name or an id is empty."""

    code = "name_missing"


class _LiveRelease(BaseModel):
    """What is read of a deployment to know its release."""

    release_id: str


class _Identified(BaseModel):
    """What is read of a thing to know its id."""

    id: str


class _Named(BaseModel):
    """What is read of a release to call it by its name."""

    name: str
    number: int


class Http:
    """A typed HTTP client. Every method is one request and returns a value, or raises the server's error."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        transport: httpx.BaseTransport | None = None,
        timeout: float = 120.0,
        workers: Callable[[], object] | None = None,
    ) -> None:
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self.base_url = base_url.rstrip("/")
        self.api_key = api_key
        self._workers = workers
        self.client = httpx.Client(
            base_url=self.base_url,
            headers=headers,
            transport=transport,
            timeout=httpx.Timeout(timeout, connect=5.0),
        )

    @property
    def runs_jobs(self) -> bool:
        """Whether a server that runs jobs answers; an application in this process runs none."""
        return self._workers is None

    def need_workers(self) -> None:
        """Before waiting for a job: see that somebody does it. An application in this process runs none itself."""
        if self._workers is not None:
            self._workers()

    def get(self, path: str, kind: type[V], params: dict[str, Any] | None = None) -> V:
        """GET `path` as a `kind`. Parameters that are None are left out. A page knows how to get the next one."""
        value = self._typed(self.send("GET", path, params=params), kind)
        if isinstance(value, Page):
            value.fetched_by(_PageFetcher(self, path, type(value), params or {}))
        return value

    def post(self, path: str, kind: type[V], body: BaseModel | None = None) -> V:
        """POST `body` and read the reply as a `kind`."""
        return self._typed(self.send("POST", path, body=body), kind)

    def put(self, path: str, kind: type[V], body: BaseModel | None = None) -> V:
        """PUT `body` and read the reply as a `kind`."""
        return self._typed(self.send("PUT", path, body=body), kind)

    def patch(self, path: str, kind: type[V], body: BaseModel | None = None) -> V:
        """PATCH with `body` and read the reply as a `kind`."""
        return self._typed(self.send("PATCH", path, body=body), kind)

    def delete(self, path: str) -> None:
        """Send DELETE; raise the error that the server names."""
        self.send("DELETE", path)

    def release_ref(self, ref: str) -> str:
        """Return `ref` as it is, or for `prod/name` the id of the release that is live there.

        Raises DeploymentNotFound.
        """
        return self.get(f"/api/deployments/{ref}", _LiveRelease).release_id if "/" in ref else ref

    def release_id(self, ref: str | None) -> str | None:
        """Return the id of a release by `name`, `name@3`, id or `prod/name`; None of None. Raises ReleaseNotFound."""
        if ref is None or ref.startswith("rel_"):
            return ref
        return self.get(f"/api/releases/{self.release_ref(ref)}", _Identified).id

    def release_names(self, ids: Iterable[str | None]) -> dict[str | None, str]:
        """Return `name@3` by id for these releases, an unknown id under itself; of at most 50 of them."""
        names: dict[str | None, str] = {}
        for release_id in sorted({one for one in ids if one})[:50]:
            try:
                release = self.get(f"/api/releases/{release_id}", _Named)
                names[release_id] = f"{release.name}@{release.number}"
            except NotFound:
                names[release_id] = release_id
        return names

    def upload(self, path: str, kind: type[V], chunks: Iterator[bytes]) -> V:
        """POST the bytes of `chunks` as they come and read the reply as a `kind`."""
        return self._typed(self.send("POST", path, content=chunks), kind)

    def download(self, path: str, into: BinaryIO) -> int:
        """GET raw bytes into a file; returns how many."""
        size = 0
        with self.transport_errors(), self.client.stream("GET", _quote_path(path)) as reply:
            if reply.is_error:
                reply.read()
                raise read_error(reply)
            for chunk in reply.iter_bytes():
                size += into.write(chunk)
        return size

    def send(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, Any] | None = None,
        body: BaseModel | None = None,
        content: Iterator[bytes] | None = None,
    ) -> httpx.Response:
        """Send one request and return the response. Raises the server's error as its own class."""
        query = {k: v for k, v in (params or {}).items() if v is not None}
        data: bytes | Iterator[bytes] | None = content
        headers = {}
        if body is not None:
            data = body.model_dump_json(exclude_unset=True).encode()
            headers["content-type"] = "application/json"
        with self.transport_errors(), _text_errors():
            reply = self.client.request(method, _quote_path(path), params=query, content=data, headers=headers)
        if reply.is_error:
            raise _named_error(read_error(reply), path)
        return reply

    def transport_errors(self) -> "_TransportErrors":
        """Return a context in which a server that does not answer is ServerUnreachable."""
        return _TransportErrors(self.base_url)

    def _typed(self, reply: httpx.Response, kind: type[V]) -> V:
        try:
            return kind.model_validate_json(reply.content)
        except ValidationError as error:
            raise Failed(
                f"{self.base_url} answered something that is not a {kind.__name__}.",
                hint="Client and server may be of different versions.",
                details={"errors": error.error_count()},
            ) from error

    def close(self) -> None:
        """Close the connections; the client cannot be used after."""
        self.client.close()


@dataclass(frozen=True)
class _PageFetcher:
    """Fetches the page of a list at a cursor."""

    http: Http
    path: str
    kind: type[Page[Any]]
    params: dict[str, Any]

    def __call__(self, cursor: str) -> Page[Any]:
        return self.http.get(self.path, self.kind, {**self.params, "cursor": cursor})


def _quote_path(path: str) -> str:
    """Return the path with the names in it as they are: a `?` or `#` in a name is no query. Raises NameMissing."""
    if path.endswith("/") or "//" in path:
        raise NameMissing("A name is empty.", hint="Give the name or the id of what you mean.")
    # A dot that stands alone would be taken for a step within the path.
    steps = (part.replace(".", "%2E") if part in (".", "..") else quote(part, safe="@:+,=") for part in path.split("/"))
    return "/".join(steps)


def _named_error(error: TidemillError, path: str) -> TidemillError:
    """Return the error; one of a path that the server does not have as one of the name in it, such as `a/b`."""
    if (
        type(error) is not NotFound
        or error.code != NotFound.code
        or not error.message.startswith("There is nothing at")
    ):
        return error
    return NameUnknown(
        f"There is no {path.removeprefix('/api/')!r}: a name or an id has no slash in it.",
        hint="prod/name is taken where a release or a deployment is meant. If there is none in the name, client and "
        "server are of different versions.",
    )


@contextmanager
def _text_errors() -> Iterator[None]:
    """Turn a name that is no text, such as a byte of another encoding typed in a terminal, into an error of ours."""
    try:
        yield
    except UnicodeEncodeError as error:
        raise Invalid(
            "A name or text is not whole in UTF-8.", hint="Type it anew, in a terminal that uses UTF-8."
        ) from error


class _TransportErrors:
    """Turns transport failures into ServerUnreachable."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, httpx.TransportError):
            raise ServerUnreachable(
                f"No answer from {self.base_url}: {error or type(error).__name__}.",
                hint="Start one with `tidemill up`, or check TIDEMILL_URL.",
            ) from error


def read_error(reply: httpx.Response) -> TidemillError:
    """Return the error in a reply, as the class it was when it is known here."""
    try:
        body = ErrorReply.model_validate_json(reply.content).error
    except ValidationError:
        text = reply.text.strip()[:200] or reply.reason_phrase
        return Failed(f"{reply.request.url} answered {reply.status_code}: {text}")
    return rebuild(reply.status_code, body)


async def _pieces(request: httpx.Request) -> AsyncIterator[bytes]:
    assert isinstance(request.stream, httpx.SyncByteStream)
    for piece in request.stream:
        yield piece


class InProcessTransport(httpx.BaseTransport):
    """Calls an ASGI application on an event loop of its own, in a daemon thread so that the process can exit.

    A reply is read whole before it is returned: streaming needs a listening server.
    """

    def __init__(self, app: AsgiApp) -> None:
        self.app = app
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="tidemill-embedded", daemon=True)
        self.thread.start()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Run one request through the application."""
        # What comes piece by piece, such as a file of gigabytes, goes on piece by piece.
        content = request.read() if isinstance(request.stream, httpx.ByteStream) else _pieces(request)

        async def run() -> httpx.Response:
            transport = httpx.ASGITransport(self._marked)
            inner = httpx.Request(request.method, request.url, headers=request.headers, content=content)
            reply = await transport.handle_async_request(inner)
            body = await reply.aread()
            return httpx.Response(reply.status_code, headers=reply.headers, content=body)

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result()

    async def _marked(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app({**scope, LOCAL_SCOPE: True}, receive, send)

    def close(self) -> None:
        """Stop the event loop and wait for its thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(timeout=5)
        if not self.thread.is_alive():
            self.loop.close()
