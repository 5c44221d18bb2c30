"""The routes of prompts."""

from fastapi import APIRouter

from tidemill.core.web import Cursor, Limit, RequestContext, role
from tidemill.core.wire import Page
from tidemill.prompts import service
from tidemill.prompts.types import (
    LabelChange,
    LabelMove,
    Prompt,
    PromptCreate,
    PromptDiff,
    PromptVersion,
    Rendered,
    RenderRequest,
)

router = APIRouter(prefix="/api/prompts", tags=["prompts"])


@router.post("", status_code=201, openapi_extra=role("developer"))
def create(body: PromptCreate, request: RequestContext) -> PromptVersion:
    """Save a new version."""
    return request.write(service.create, body)


@router.get("", openapi_extra=role("viewer"))
def list_prompts(request: RequestContext, cursor: Cursor = None, limit: Limit = 50) -> Page[Prompt]:
    """Every prompt with its newest version, by name."""
    return request.read(service.list_prompts, cursor=cursor, limit=limit)


@router.get("/{ref}", openapi_extra=role("viewer"))
def get(ref: str, request: RequestContext) -> PromptVersion:
    """One version: `name`, `name@3`, `name@label` or an id."""
    return request.read(service.get, ref)


@router.get("/{name}/versions", openapi_extra=role("viewer"))
def history(name: str, request: RequestContext, cursor: Cursor = None, limit: Limit = 50) -> Page[PromptVersion]:
    """The versions of one prompt, newest first."""
    return request.read(service.list_versions, name, cursor=cursor, limit=limit)


@router.put("/{name}/labels/{label}", openapi_extra=role("developer"))
def move_label(name: str, label: str, body: LabelMove, request: RequestContext) -> LabelChange:
    """Put a label on a version."""
    return request.write(service.move_label, name, label, body)


@router.get("/{name}/labels", openapi_extra=role("viewer"))
def label_history(
    name: str, request: RequestContext, label: str | None = None, cursor: Cursor = None, limit: Limit = 50
) -> Page[LabelChange]:
    """Where labels stood, newest first."""
    return request.read(service.list_label_changes, name, label, cursor=cursor, limit=limit)


@router.post("/{ref}/render", openapi_extra=role("viewer"))
def render(ref: str, body: RenderRequest, request: RequestContext) -> Rendered:
    """The prompt with its variables filled in."""
    return request.read(service.render, ref, body.variables)


@router.get("/{name}/diff", openapi_extra=role("viewer"))
def diff(name: str, before: str, after: str, request: RequestContext) -> PromptDiff:
    """How one version or label differs from another."""
    return request.read(service.diff, name, before, after)
