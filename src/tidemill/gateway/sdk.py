"""`client.gateway`: asking a model, and reading the books."""

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
    """The chat endpoint and the record of its calls. Any OpenAI client works as well, at `<url>/v1`."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def calls(
        self,
        *,
        release_id: str | None = None,
        environment: str | None = None,
        caller: str | None = None,
        status: str | None = None,
        since: datetime | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Call]:
        """Calls, newest first."""
        params = {
            "release_id": release_id,
            "environment": environment,
            "caller": caller,
            "status": status,
            "since": since.isoformat() if since else None,
            "cursor": cursor,
            "limit": limit,
        }
        return self._http.get("/api/calls", Page[Call], params=params)

    def call(self, call_id: str) -> Call:
        """One call, by the reply's id or its `x-request-id`. Raises CallNotFound."""
        return self._http.get(f"/api/calls/{call_id}", Call)

    def ask(self, model: str, messages: Messages, **fields: Any) -> dict[str, Any]:
        """A whole reply, in OpenAI's shape. `fields` are those of a chat completion."""
        body = {"model": model, "messages": messages, **fields}
        reply = self._http.client.post("/v1/chat/completions", json=body, timeout=600)
        if reply.is_error:
            raise read_error(reply)
        found: dict[str, Any] = reply.json()
        return found

    def stream(self, model: str, messages: Messages, **fields: Any) -> Iterator[dict[str, Any]]:
        """The chunks of a reply as they come, in OpenAI's shape. Raises the error that ends a stream."""
        body = {"model": model, "messages": messages, "stream": True, **fields}
        with self._http.client.stream("POST", "/v1/chat/completions", json=body, timeout=600) as reply:
            if reply.is_error:
                reply.read()
                raise read_error(reply)
            for line in reply.iter_lines():
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
