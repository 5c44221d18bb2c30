"""The routes of collections."""

from fastapi import APIRouter

from tidemill.core.web import Cursor, Entry, Limit, role
from tidemill.core.wire import Page
from tidemill.traces.curation import service
from tidemill.traces.types.curation import Collection, CollectionItem, ToDataset

router = APIRouter(prefix="/api", tags=["traces"])


@router.post("/traces/to-dataset", status_code=201, openapi_extra=role("developer"))
def to_dataset(body: ToDataset, door: Entry) -> Collection:
    """Make rows of answers, and a dataset version of the rows; a job makes it."""
    return service.to_dataset(door.kernel, door.actor, body)


@router.get("/trace-collections", openapi_extra=role("viewer"))
def listing(
    door: Entry,
    dataset: str | None = None,
    trace_id: str | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[Collection]:
    """Collections, newest first; with `trace_id`, those that an answer of this trace is in."""
    return door.look(service.list_collections, dataset=dataset, trace_id=trace_id, cursor=cursor, limit=limit)


@router.get("/trace-collections/{collection_id}", openapi_extra=role("viewer"))
def get(collection_id: str, door: Entry) -> Collection:
    """One collection."""
    return door.look(service.get_collection, collection_id)


@router.get("/trace-collections/{collection_id}/items", openapi_extra=role("viewer"))
def items(
    collection_id: str, door: Entry, quarantined: bool | None = None, cursor: Cursor = None, limit: Limit = 50
) -> Page[CollectionItem]:
    """The answers of a collection; only rows, or only what is in quarantine."""
    return door.look(service.collection_items, collection_id, quarantined=quarantined, cursor=cursor, limit=limit)
