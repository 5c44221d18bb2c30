"""`client.gateway`: chat completions, and the record of calls."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from tidemill.core.errors import ErrorBody, Failed, rebuild
from tidemill.core.http import Http, read_error
from tidemill.core.wire import Page
from tidemill.gateway.types import Call

Messages = list[dict[str, Any]]


class Gateway:
    """Chat completions and recorded calls. Any OpenAI client works as well, at `<url>/v1`."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def calls(
        self,
        *,
        release_id: str | None = None,
        environment: str | None = None,
        caller: str | None = None,
        user: str | None = None,
        status: str | None = None,
        since: datetime | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Call]:
        """Return recorded calls, newest first. Raises UnknownEnvironment."""
        params = {
            "release_id": release_id,
            "environment": environment,
            "caller": caller,
            "user": user,
            "status": status,
            "since": since.isoformat() if since else None,
            "cursor": cursor,
            "limit": limit,
        }
        return self._http.get("/api/calls", Page[Call], params=params)

    def call(self, call_id: str) -> Call:
        """Return one call, by the response's id or its `x-request-id`. Raises CallNotFound."""
        return self._http.get(f"/api/calls/{call_id}", Call)

    def ask(self, model: str, messages: Messages, **fields: Any) -> dict[str, Any]:
        """Return a chat completion in OpenAI's shape. `fields` are further fields of the request."""
        body = {"model": model, "messages": messages, **fields}
        with self._http.transport_errors():
            response = self._http.client.post("/v1/chat/completions", json=body, timeout=600)
        if response.is_error:
            raise read_error(response)
        completion: dict[str, Any] = response.json()
        return completion

    def stream(self, model: str, messages: Messages, **fields: Any) -> Iterator[dict[str, Any]]:
        """Yield the chunks of a completion in OpenAI's shape as they come. Raises the error that ends a stream."""
        body = {"model": model, "messages": messages, "stream": True, **fields}
        with (
            self._http.transport_errors(),
            self._http.client.stream("POST", "/v1/chat/completions", json=body, timeout=600) as response,
        ):
            if response.is_error:
                response.read()
                raise read_error(response)
            for line in response.iter_lines():
                data = line.removeprefix("data:").strip()
                if data == "[DONE]":
                    return
                if data:
                    yield _chunk(data)
        raise Failed("The stream broke off before its end.", hint="Try again.")


def _chunk(data: str) -> dict[str, Any]:
    chunk: dict[str, Any] = json.loads(data)
    if "error" in chunk:
        raise rebuild(503, ErrorBody.model_validate(chunk["error"]))
    return chunk
