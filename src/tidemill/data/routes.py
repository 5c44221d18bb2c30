"""The routes of data."""

from typing import Annotated

from fastapi import APIRouter, Query

from tidemill.core.web import Cursor, Entry, Limit, role
from tidemill.core.wire import Page
from tidemill.data import service
from tidemill.data.types import (
    CatalogueSet,
    Dataset,
    DatasetVersion,
    Diff,
    Import,
    ImportCreate,
    Preview,
    VersionSummary,
)

router = APIRouter(prefix="/api", tags=["data"])

Offset = Annotated[int, Query(ge=0, description="How many rows to leave out.")]
Split = Annotated[str | None, Query(description="Name of the split; the first when left out.")]


@router.post("/datasets/imports", status_code=202, openapi_extra=role("developer"))
def import_(body: ImportCreate, door: Entry) -> Import:
    """Make a version out of uploaded files."""
    return door.work_after(service.look_into, service.import_, body)


@router.get("/datasets", openapi_extra=role("viewer"))
def listing(door: Entry, cursor: Cursor = None, limit: Limit = 50) -> Page[Dataset]:
    """Every dataset, by name."""
    return door.look(service.list_datasets, cursor=cursor, limit=limit)


@router.get("/datasets/{name}", openapi_extra=role("viewer"))
def get(name: str, door: Entry) -> Dataset:
    """One dataset with its catalogue entry."""
    return door.look(service.get_dataset, name)


@router.patch("/datasets/{name}/catalogue", openapi_extra=role("developer"))
def set_catalogue(name: str, body: CatalogueSet, door: Entry) -> Dataset:
    """Change catalogue fields."""
    return door.work(service.set_catalogue, name, body)


@router.get("/datasets/{name}/versions", openapi_extra=role("viewer"))
def versions(name: str, door: Entry, cursor: Cursor = None, limit: Limit = 50) -> Page[VersionSummary]:
    """The versions of one dataset, newest first."""
    return door.look(service.list_versions, name, cursor=cursor, limit=limit)


@router.get("/dataset-versions/{ref}", openapi_extra=role("viewer"))
def version(ref: str, door: Entry) -> DatasetVersion:
    """One version: `name`, `name@3` or an id."""
    return door.look(service.get_version, ref)


@router.get("/dataset-versions/{ref}/rows", openapi_extra=role("viewer"))
def preview(ref: str, door: Entry, split: Split = None, offset: Offset = 0, limit: Limit = 20) -> Preview:
    """A page of rows."""
    return door.look(service.preview, ref, split, offset, limit)


@router.get("/dataset-versions/{ref}/diff", openapi_extra=role("viewer"))
def diff(ref: str, against: str, door: Entry) -> Diff:
    """What changed since the version `against`."""
    return door.look(service.diff, against, ref)
