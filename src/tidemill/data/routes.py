"""The routes of data."""

from typing import Annotated

from fastapi import APIRouter, Query

from tidemill.core.web import Cursor, Limit, RequestContext, role
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
def import_(body: ImportCreate, request: RequestContext) -> Import:
    """Make a version out of uploaded files."""
    return request.write_after(service.inspect_sources, service.import_, body)


@router.get("/datasets", openapi_extra=role("viewer"))
def list_datasets(request: RequestContext, cursor: Cursor = None, limit: Limit = 50) -> Page[Dataset]:
    """Every dataset, by name."""
    return request.read(service.list_datasets, cursor=cursor, limit=limit)


@router.get("/datasets/{name}", openapi_extra=role("viewer"))
def get(name: str, request: RequestContext) -> Dataset:
    """One dataset with its catalogue entry."""
    return request.read(service.get_dataset, name)


@router.patch("/datasets/{name}/catalogue", openapi_extra=role("developer"))
def set_catalogue(name: str, body: CatalogueSet, request: RequestContext) -> Dataset:
    """Change the catalogue fields that the body names."""
    return request.write(service.set_catalogue, name, body)


@router.get("/datasets/{name}/versions", openapi_extra=role("viewer"))
def versions(name: str, request: RequestContext, cursor: Cursor = None, limit: Limit = 50) -> Page[VersionSummary]:
    """The versions of one dataset, newest first."""
    return request.read(service.list_versions, name, cursor=cursor, limit=limit)


@router.get("/dataset-versions/{ref}", openapi_extra=role("viewer"))
def version(ref: str, request: RequestContext) -> DatasetVersion:
    """One version: `name`, `name@3` or an id."""
    return request.read(service.get_version, ref)


@router.get("/dataset-versions/{ref}/rows", openapi_extra=role("viewer"))
def preview(ref: str, request: RequestContext, split: Split = None, offset: Offset = 0, limit: Limit = 20) -> Preview:
    """A page of rows."""
    return request.read(service.preview, ref, split, offset, limit)


@router.get("/dataset-versions/{ref}/diff", openapi_extra=role("viewer"))
def diff(ref: str, against: str, request: RequestContext) -> Diff:
    """What changed since the version `against`."""
    return request.read(service.diff, against, ref)
