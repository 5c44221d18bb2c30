"""The routes of people and keys, and the check that stands before every route."""

from fastapi import APIRouter, Request

from tidemill.access import service
from tidemill.access.types import Key, KeyCreate, KeyCreated, Me, Person, PersonCreate, PersonUpdate
from tidemill.core.context import OWNER, Context
from tidemill.core.http import LOCAL_SCOPE
from tidemill.core.web import ROLE_KEY, Cursor, Entry, Limit, role
from tidemill.core.wire import Page

router = APIRouter(prefix="/api/access", tags=["access"])


def authorize(request: Request) -> None:
    """Know the caller and check the route's role; put before every route in `server/app.py`."""
    ring: service.KeyRing = request.app.state.keys
    if request.scope.get(LOCAL_SCOPE) and "authorization" not in request.headers:
        actor = OWNER
    else:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        actor = ring.authenticate(token.strip() if scheme.lower() == "bearer" else None)
    service.require(actor, request.scope["route"].openapi_extra[ROLE_KEY])
    request.state.actor = actor


def _changed(ctx: Context, request: Request) -> None:
    ctx.once_committed(request.app.state.keys.forget)


@router.get("/me", openapi_extra=role("viewer"))
def whoami(door: Entry) -> Me:
    """Who the key belongs to."""
    return door.look(service.whoami)


@router.get("/people", openapi_extra=role("viewer"))
def list_people(door: Entry) -> Page[Person]:
    """Everybody, by name."""
    return door.look(service.list_people)


@router.post("/people", status_code=201, openapi_extra=role("admin"))
def create_person(body: PersonCreate, door: Entry) -> Person:
    """Add somebody."""
    return door.work(service.create_person, body)


@router.patch("/people/{name}", openapi_extra=role("admin"))
def update_person(name: str, body: PersonUpdate, door: Entry, request: Request) -> Person:
    """Change roles, or disable."""

    def change(ctx: Context) -> Person:
        _changed(ctx, request)
        return service.update_person(ctx, name, body)

    return door.work(change)


@router.get("/keys", openapi_extra=role("admin"))
def list_keys(door: Entry, person: str | None = None, cursor: Cursor = None, limit: Limit = 50) -> Page[Key]:
    """Keys, newest first."""
    return door.look(service.list_keys, person=person, cursor=cursor, limit=limit)


@router.post("/keys", status_code=201, openapi_extra=role("admin"))
def create_key(body: KeyCreate, door: Entry) -> KeyCreated:
    """A new key; its secret is shown this once."""
    return door.work(service.create_key, body)


@router.delete("/keys/{key_id}", openapi_extra=role("admin"))
def revoke_key(key_id: str, door: Entry, request: Request) -> Key:
    """End a key at once."""

    def change(ctx: Context) -> Key:
        _changed(ctx, request)
        return service.revoke_key(ctx, key_id)

    return door.work(change)
