"""The routes of recorded calls. `/v1` itself is in `asgi.py`."""

from typing import Annotated

from fastapi import APIRouter, Query

from tidemill.core.times import TimeQuery
from tidemill.core.web import Cursor, Limit, RequestContext, role
from tidemill.core.wire import Page
from tidemill.gateway import service
from tidemill.gateway.types import Call, Status

router = APIRouter(prefix="/api/calls", tags=["gateway"])


@router.get("", openapi_extra=role("observer"))
def list_calls(
    request: RequestContext,
    release_id: str | None = None,
    environment: str | None = None,
    caller: Annotated[str | None, Query(description="Name of the person behind the key.")] = None,
    user: Annotated[str | None, Query(description="The caller's own user, as the request named them.")] = None,
    status: Status | None = None,
    since: Annotated[TimeQuery | None, Query(description="Only calls that started then or later.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[Call]:
    """Return calls through `/v1`, newest first."""
    return request.read(
        service.list_calls,
        release_id=release_id,
        environment=environment,
        caller=caller,
        user=user,
        status=status,
        since=since,
        cursor=cursor,
        limit=limit,
    )


@router.get("/{call_id}", openapi_extra=role("observer"))
def get_call(call_id: str, request: RequestContext) -> Call:
    """Return one call, by the id of the response or its `x-request-id`."""
    return request.read(service.get, call_id)
