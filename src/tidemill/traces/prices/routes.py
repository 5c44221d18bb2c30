"""The routes of prices."""

from fastapi import APIRouter

from tidemill.core.web import Cursor, Entry, Limit, role
from tidemill.core.wire import Page
from tidemill.traces.prices import service
from tidemill.traces.types.prices import Price, PriceCreate, Quote, QuoteRequest

router = APIRouter(prefix="/api/prices", tags=["traces"])


@router.post("", status_code=201, openapi_extra=role("developer"))
def create(body: PriceCreate, door: Entry) -> Price:
    """Say what calls of some models cost."""
    return door.work(service.create, body)


@router.get("", openapi_extra=role("viewer"))
def listing(door: Entry, ended: bool = False, cursor: Cursor = None, limit: Limit = 50) -> Page[Price]:
    """Price rules, newest first; with `ended` also those that hold no longer."""
    return door.look(service.listing, ended=ended, cursor=cursor, limit=limit)


@router.post("/quote", openapi_extra=role("viewer"))
def quote(body: QuoteRequest, door: Entry) -> Quote:
    """What a call would cost, by the rules or by the public price list."""
    return door.look(service.quote, body)


@router.get("/{price_id}", openapi_extra=role("viewer"))
def get(price_id: str, door: Entry) -> Price:
    """One price rule."""
    return door.look(service.get, price_id)


@router.post("/{price_id}/end", openapi_extra=role("developer"))
def end(price_id: str, door: Entry) -> Price:
    """Let a price rule hold no longer."""
    return door.work(service.end, price_id)
