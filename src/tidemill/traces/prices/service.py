"""Price rules: created and ended, never edited, so that a stored cost can always be explained."""

from tidemill.core import events
from tidemill.core.kernel import Context
from tidemill.core.web import page
from tidemill.core.wire import Page, new_id
from tidemill.traces.prices import store
from tidemill.traces.prices.book import PriceBook
from tidemill.traces.prices.price_list import Tokens
from tidemill.traces.types.prices import Price, PriceCreate, PriceEnded, PriceNotFound, Quote, QuoteRequest


def create(ctx: Context, body: PriceCreate) -> Price:
    """Create a rule for calls from now on, or from `since` on. Stored costs stay as they are."""
    values = body.model_dump() | {"since": body.since or ctx.now}
    price = Price(id=new_id("prc"), until=None, created_by=ctx.actor.name, created_at=ctx.now, **values)
    store.insert(ctx.conn, price)
    events.emit(ctx, "price.created", price.id, {"model": price.model, "provider": price.provider})
    ctx.once_committed(ctx.kernel.get(PriceBook).invalidate)
    return price


def end(ctx: Context, price_id: str) -> Price:
    """End a rule now. Raises PriceNotFound, PriceEnded."""
    price = get(ctx, price_id)
    if not store.end(ctx.conn, price.id, ctx.now):
        ended_at = get(ctx, price_id).until or ctx.now
        raise PriceEnded(f"The price of {price.model} ended at {ended_at:%Y-%m-%d %H:%M} UTC already.")
    events.emit(ctx, "price.ended", price.id, {"model": price.model})
    ctx.once_committed(ctx.kernel.get(PriceBook).invalidate)
    return price.model_copy(update={"until": ctx.now})


def get(ctx: Context, price_id: str) -> Price:
    """Return a rule. Raises PriceNotFound."""
    price = store.get(ctx.conn, price_id)
    if price is None:
        raise PriceNotFound(f"There is no price rule {price_id!r}.", hint="`tidemill prices list` shows them.")
    return price


def list_prices(ctx: Context, *, ended: bool = False, cursor: str | None = None, limit: int = 50) -> Page[Price]:
    """Return rules, newest first; with `ended` also those that have ended."""
    return page(store.list_page(ctx.conn, before=cursor, ended=ended, limit=limit + 1), limit)


def quote(ctx: Context, body: QuoteRequest) -> Quote:
    """Return what a call would cost, and by which rule or list."""
    tokens = Tokens(body.input_tokens, body.output_tokens, min(body.cached_tokens, body.input_tokens))
    at_ns = int((body.at or ctx.now).timestamp() * 1e9)
    cost = ctx.kernel.get(PriceBook).cost(ctx, body.provider, body.model, tokens, body.seconds, at_ns)
    if cost is None:
        return Quote(cost_usd=None, source=None, version=None)
    return Quote(cost_usd=cost.usd, source=cost.source, version=cost.version)
