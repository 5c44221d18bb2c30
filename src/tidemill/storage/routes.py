"""The routes of storage."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from tidemill.core.removals import Removal
from tidemill.core.web import Limit, RequestContext, role
from tidemill.core.wire import Page
from tidemill.storage import service
from tidemill.storage.types import CleanPlan, StorageClean, StorageItem, StorageReport

router = APIRouter(prefix="/api/storage", tags=["storage"])

SkipCursor = Annotated[str | None, Query(pattern=r"^[0-9]{1,9}$", description="`next_cursor` of the page before.")]


@router.get("", openapi_extra=role("viewer"))
def get_storage(request: RequestContext) -> StorageReport:
    """What takes space, by kind, why it is kept, and what may go."""
    return service.get_report(request.kernel)


@router.get("/items", openapi_extra=role("viewer"))
def list_storage_items(
    request: RequestContext,
    kind: str | None = None,
    state: Literal["needed", "young", "removable"] | None = None,
    cursor: SkipCursor = None,
    limit: Limit = 50,
) -> Page[StorageItem]:
    """List blobs, files and folders, the largest first, each with what needs it."""
    return service.list_items(request.kernel, kind=kind, state=state, skip=int(cursor or 0), limit=limit)


@router.get("/removed", openapi_extra=role("viewer"))
def list_removed_files(request: RequestContext, cursor: SkipCursor = None, limit: Limit = 50) -> Page[Removal]:
    """List what was removed to free space, the latest first."""
    return request.read(service.list_removed, skip=int(cursor or 0), limit=limit)


@router.post("/clean", openapi_extra=role("admin"))
def clean_storage(body: StorageClean, request: RequestContext) -> CleanPlan:
    """Say what may go; with `apply`, submit a job that removes it."""
    plan = service.plan_clean(request.kernel, body)
    return request.write(service.submit_clean, body, plan) if body.apply else plan
