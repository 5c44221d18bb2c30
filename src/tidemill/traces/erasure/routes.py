"""The routes of erasures."""

from fastapi import APIRouter

from tidemill.core.web import Cursor, Entry, Limit, role
from tidemill.core.wire import Page
from tidemill.traces.erasure import service
from tidemill.traces.types.erasure import Erasure, Footprint

router = APIRouter(prefix="/api/traces", tags=["traces"])


@router.get("/users/{user:path}/footprint", openapi_extra=role("admin"))
def footprint(user: str, door: Entry) -> Footprint:
    """What is kept of a user, and what was made of it."""
    return door.look(service.footprint, user)


@router.delete("/users/{user:path}", openapi_extra=role("admin"))
def erase(user: str, door: Entry) -> Erasure:
    """Erase a user's traces, scores, and rows on their way into datasets. It cannot be undone."""
    return service.erase(door.kernel, door.actor, user)


@router.get("/erasures", openapi_extra=role("admin"))
def listing(door: Entry, user: str | None = None, cursor: Cursor = None, limit: Limit = 50) -> Page[Erasure]:
    """Records of erasures, newest first."""
    return door.look(service.listing, user=user, cursor=cursor, limit=limit)
