"""The routes of the registry."""

from fastapi import APIRouter

from tidemill.core.times import TimeQuery
from tidemill.core.web import Cursor, Limit, RequestContext, role
from tidemill.core.wire import Name, Page
from tidemill.registry import service
from tidemill.registry.types import (
    AliasChange,
    AliasHistory,
    AliasMove,
    AliasRemove,
    ChatTemplate,
    EvidenceList,
    Model,
    ModelCard,
    ModelVersion,
    VersionCreate,
)

router = APIRouter(prefix="/api", tags=["models"])


@router.post("/model-versions", status_code=201, openapi_extra=role("developer"))
def add_version(body: VersionCreate, request: RequestContext) -> ModelVersion:
    """Register uploaded files as a new version. The same files again give the version that is there."""
    return request.write_after(service.inspect_blobs, service.add_version, body)


@router.get("/model-versions/{ref}", openapi_extra=role("viewer"))
def get_version(ref: str, request: RequestContext) -> ModelVersion:
    """One version: `name`, `name@3`, `name@alias` or an id."""
    return request.read(service.get_version, ref)


@router.delete("/model-versions/{ref}", status_code=204, openapi_extra=role("admin"))
def delete_version(ref: str, request: RequestContext) -> None:
    """Forget a version that nothing refers to."""
    request.write(service.delete_version, ref)


@router.get("/model-versions/{ref}/card", openapi_extra=role("viewer"))
def card(ref: str, request: RequestContext) -> ModelCard:
    """The model card as a Markdown file."""
    return request.read(service.render_card, ref)


@router.get("/model-versions/{ref}/evidence", openapi_extra=role("viewer"))
def evidence(ref: str, request: RequestContext) -> EvidenceList:
    """Why a version may be served, or why not."""
    return request.read(service.list_evidence, ref)


@router.get("/model-versions/{ref}/chat-template", openapi_extra=role("viewer"))
def chat_template(ref: str, request: RequestContext) -> ChatTemplate:
    """The chat template that a version carries."""
    return request.read(service.chat_template, ref)


@router.get("/models", openapi_extra=role("viewer"))
def list_models(request: RequestContext, cursor: Cursor = None, limit: Limit = 50) -> Page[Model]:
    """Every model, by name."""
    return request.read(service.list_models, cursor=cursor, limit=limit)


@router.get("/models/{name}", openapi_extra=role("viewer"))
def get_model(name: str, request: RequestContext) -> Model:
    """A model by its name."""
    return request.read(service.get_model, name)


@router.get("/models/{name}/versions", openapi_extra=role("viewer"))
def list_versions(name: str, request: RequestContext, cursor: Cursor = None, limit: Limit = 50) -> Page[ModelVersion]:
    """The versions of one model, newest first."""
    return request.read(service.list_versions, name, cursor=cursor, limit=limit)


@router.get("/models/{name}/aliases", openapi_extra=role("viewer"))
def list_aliases(name: str, request: RequestContext) -> Page[AliasChange]:
    """Where the aliases of a model point now."""
    return request.read(service.list_aliases, name)


@router.get("/models/{name}/aliases/{alias}", openapi_extra=role("viewer"))
def alias_history(name: str, alias: str, request: RequestContext) -> AliasHistory:
    """Every move of an alias, newest first."""
    return request.read(service.alias_history, name, alias)


@router.put("/models/{name}/aliases/{alias}", openapi_extra=role("developer"))
def move_alias(name: str, alias: Name, body: AliasMove, request: RequestContext) -> AliasChange:
    """Point an alias at a version."""
    return request.write(service.move_alias, name, alias, body)


@router.post("/models/{name}/aliases/{alias}/removal", openapi_extra=role("developer"))
def remove_alias(name: str, alias: str, body: AliasRemove, request: RequestContext) -> AliasChange:
    """Take an alias away; its history stays."""
    return request.write(service.remove_alias, name, alias, body)


@router.get("/models/{name}/aliases/{alias}/version", openapi_extra=role("viewer"))
def alias_at(name: str, alias: str, request: RequestContext, at: TimeQuery | None = None) -> ModelVersion:
    """The version that an alias names now, or named at the moment `at`."""
    return request.read(service.alias_at, name, alias, at)
