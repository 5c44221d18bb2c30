"""The routes of lineage and audit."""

from typing import Annotated

from fastapi import APIRouter, Query

from tidemill.core.event_types import Event
from tidemill.core.times import TimeQuery
from tidemill.core.web import Cursor, Limit, RequestContext, role
from tidemill.core.wire import Page
from tidemill.governance import service
from tidemill.governance.types import Lineage

router = APIRouter(prefix="/api", tags=["governance"])

Depth = Annotated[int, Query(ge=0, le=200, description="How many generations at most.")]


@router.get("/lineage/{ref:path}", openapi_extra=role("viewer"))
def get_lineage(ref: str, request: RequestContext, depth: Depth = 50) -> Lineage:
    """Where a thing comes from and what was made from it: an id, `name@3`, `name`, `kind:name@3`, or `prod/name`."""
    return request.read(service.get_lineage, ref, depth=depth)


@router.get("/audit", openapi_extra=role("approver"))
def audit(
    request: RequestContext,
    kind: str | None = None,
    subject: str | None = None,
    actor: str | None = None,
    since: TimeQuery | None = None,
    until: TimeQuery | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[Event]:
    """Who did what and when, newest first. A kind that ends in a dot means its family."""
    return request.read(
        service.list_audit_events,
        kind=kind,
        subject=subject,
        actor=actor,
        since=since,
        until=until,
        cursor=cursor,
        limit=limit,
    )
