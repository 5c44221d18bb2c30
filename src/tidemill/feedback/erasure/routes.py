"""The routes of erasures."""

from fastapi import APIRouter

from tidemill.core.web import Cursor, Limit, RequestContext, role
from tidemill.core.wire import Page
from tidemill.feedback.erasure import service
from tidemill.feedback.types.erasure import Erasure, Footprint

router = APIRouter(prefix="/api/traces", tags=["traces"])


@router.get("/users/{user:path}/footprint", openapi_extra=role("admin"))
def get_footprint(user: str, request: RequestContext) -> Footprint:
    """Return what is stored of a user, and what was made of it."""
    return request.read(service.footprint, user)


@router.delete("/users/{user:path}", openapi_extra=role("admin"))
def erase_user(user: str, request: RequestContext) -> Erasure:
    """Erase a user's traces, scores, and rows on their way into datasets. It cannot be undone."""
    return service.erase(request.kernel, request.actor, user)


@router.get("/erasures", openapi_extra=role("admin"))
def list_erasures(
    request: RequestContext, user: str | None = None, cursor: Cursor = None, limit: Limit = 50
) -> Page[Erasure]:
    """List records of erasures, newest first."""
    return request.read(service.list_erasures, user=user, cursor=cursor, limit=limit)
