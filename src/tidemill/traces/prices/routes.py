"""The routes of prices."""

from fastapi import APIRouter

from tidemill.core.web import Cursor, Limit, RequestContext, role
from tidemill.core.wire import Page
from tidemill.traces.prices import service
from tidemill.traces.types.prices import Price, PriceCreate, Quote, QuoteRequest

router = APIRouter(prefix="/api/prices", tags=["traces"])


@router.post("", status_code=201, openapi_extra=role("developer"))
def create(body: PriceCreate, request: RequestContext) -> Price:
    """Create a price rule: what calls of some models cost."""
    return request.write(service.create, body)


@router.get("", openapi_extra=role("viewer"))
def list_prices(request: RequestContext, ended: bool = False, cursor: Cursor = None, limit: Limit = 50) -> Page[Price]:
    """List price rules, newest first; with `ended` also those that have ended."""
    return request.read(service.list_prices, ended=ended, cursor=cursor, limit=limit)


@router.post("/quote", openapi_extra=role("viewer"))
def quote(body: QuoteRequest, request: RequestContext) -> Quote:
    """Return what a call would cost, by the rules or by the public price list."""
    return request.read(service.quote, body)


@router.get("/{price_id}", openapi_extra=role("viewer"))
def get(price_id: str, request: RequestContext) -> Price:
    """Return a price rule."""
    return request.read(service.get, price_id)


@router.post("/{price_id}/end", openapi_extra=role("developer"))
def end(price_id: str, request: RequestContext) -> Price:
    """End a price rule."""
    return request.write(service.end, price_id)
