"""The routes of people and keys, and the authorization of every route."""

from fastapi import APIRouter, Request

from tidemill.access import service
from tidemill.access.types import Key, KeyCreate, KeyCreated, Me, Person, PersonCreate, PersonUpdate
from tidemill.core.actors import OWNER
from tidemill.core.asgi import LOCAL_SCOPE, bearer_token
from tidemill.core.kernel import Context
from tidemill.core.web import ROLE_KEY, Cursor, Limit, RequestContext, role
from tidemill.core.wire import Page

router = APIRouter(prefix="/api/access", tags=["access"])


def authorize(request: Request) -> None:
    """Authenticate the caller and check the route's role. `server/app.py` runs it before every route."""
    ring: service.KeyAuthenticator = request.app.state.keys
    if request.scope.get(LOCAL_SCOPE) and "authorization" not in request.headers:
        actor = OWNER
    else:
        actor = ring.authenticate(bearer_token(request.scope["headers"]))
    service.require(actor, request.scope["route"].openapi_extra[ROLE_KEY])
    request.state.actor = actor


def _clear_key_cache(ctx: Context, request: Request) -> None:
    ctx.once_committed(request.app.state.keys.clear_cache)


@router.get("/me", openapi_extra=role("observer"))
def whoami(request: RequestContext) -> Me:
    """Who the key belongs to."""
    return request.read(service.whoami)


@router.get("/people", openapi_extra=role("viewer"))
def list_people(request: RequestContext) -> Page[Person]:
    """List all people, by name."""
    return request.read(service.list_people)


@router.post("/people", status_code=201, openapi_extra=role("admin"))
def create_person(body: PersonCreate, request: RequestContext) -> Person:
    """Create a person, who has roles and no key yet."""
    return request.write(service.create_person, body)


@router.patch("/people/{name}", openapi_extra=role("admin"))
def update_person(name: str, body: PersonUpdate, request: RequestContext, http: Request) -> Person:
    """Change a person's roles, or disable them."""

    def change(ctx: Context) -> Person:
        _clear_key_cache(ctx, http)
        return service.update_person(ctx, name, body)

    return request.write(change)


@router.get("/keys", openapi_extra=role("admin"))
def list_keys(
    request: RequestContext, person: str | None = None, cursor: Cursor = None, limit: Limit = 50
) -> Page[Key]:
    """Keys, newest first."""
    return request.read(service.list_keys, person=person, cursor=cursor, limit=limit)


@router.post("/keys", status_code=201, openapi_extra=role("admin"))
def create_key(body: KeyCreate, request: RequestContext) -> KeyCreated:
    """Create a key; its secret is shown only now."""
    return request.write(service.create_key, body)


@router.delete("/keys/{key_id}", openapi_extra=role("admin"))
def revoke_key(key_id: str, request: RequestContext, http: Request) -> Key:
    """Revoke a key at once."""

    def change(ctx: Context) -> Key:
        _clear_key_cache(ctx, http)
        return service.revoke_key(ctx, key_id)

    return request.write(change)
