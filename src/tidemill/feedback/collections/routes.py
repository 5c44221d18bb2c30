"""The routes of collections."""

from fastapi import APIRouter

from tidemill.core.web import Cursor, Limit, RequestContext, role
from tidemill.core.wire import Page
from tidemill.feedback.collections import service
from tidemill.feedback.types.collections import Collection, CollectionItem, ToDataset

router = APIRouter(prefix="/api", tags=["traces"])


@router.post("/traces/to-dataset", status_code=201, openapi_extra=role("developer"))
def to_dataset(body: ToDataset, request: RequestContext) -> Collection:
    """Make rows of answers, and a dataset version of the rows; a job makes it."""
    return service.to_dataset(request.kernel, request.actor, body)


@router.get("/trace-collections", openapi_extra=role("viewer"))
def list_collections(
    request: RequestContext,
    dataset: str | None = None,
    trace_id: str | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[Collection]:
    """List collections, newest first; with `trace_id`, those that an answer of this trace is in."""
    return request.read(service.list_collections, dataset=dataset, trace_id=trace_id, cursor=cursor, limit=limit)


@router.get("/trace-collections/{collection_id}", openapi_extra=role("viewer"))
def get_collection(collection_id: str, request: RequestContext) -> Collection:
    """Return a collection."""
    return request.read(service.get_collection, collection_id)


@router.get("/trace-collections/{collection_id}/items", openapi_extra=role("viewer"))
def list_items(
    collection_id: str,
    request: RequestContext,
    quarantined: bool | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[CollectionItem]:
    """List the answers of a collection; only rows, or only what is in quarantine."""
    return request.read(
        service.list_collection_items, collection_id, quarantined=quarantined, cursor=cursor, limit=limit
    )
