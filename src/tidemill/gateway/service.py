"""Questions to the books: which calls there were, and what stood behind an answer."""

from collections.abc import Sequence
from datetime import datetime

from tidemill.core import lineage
from tidemill.core.context import Context
from tidemill.core.web import page
from tidemill.core.wire import Page
from tidemill.gateway import store
from tidemill.gateway.types import Call, CallNotFound


def record(ctx: Context, batch: Sequence[Call]) -> None:
    """Enter finished calls, and what each was answered by."""
    store.insert(ctx.conn, batch)
    for call in batch:
        parent = call.deployment_id or call.release_id or call.model_version_id
        if parent is None or call.status == "error":
            continue
        node = lineage.Node(
            id=call.id,
            kind="call",
            label=f"answer to {call.caller_name} by {call.model}",
            facts={"tokens": call.completion_tokens, "overrides": call.overrides},
            actor_id=call.caller_id,
            at=call.ended_at,
        )
        parents = [(parent, "answered_by")]
        if call.deployment_id and call.release_id:
            parents.append((call.release_id, "answered_by"))
        lineage.record(ctx, node, parents)


def get(ctx: Context, call_id: str) -> Call:
    """One call, by the reply's id or its `x-request-id`. Raises CallNotFound."""
    call = store.get(ctx.conn, call_id)
    if call is None:
        raise CallNotFound(
            f"There is no call {call_id!r} in the books.", hint="`tidemill calls list` shows the newest ones."
        )
    return call


def listing(
    ctx: Context,
    *,
    release_id: str | None = None,
    environment: str | None = None,
    caller: str | None = None,
    status: str | None = None,
    since: datetime | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Call]:
    """Calls, newest first."""
    found = store.listing(
        ctx.conn,
        release_id=release_id,
        environment=environment,
        caller=caller,
        status=status,
        since=since,
        before=cursor,
        limit=limit + 1,
    )
    return page(found, limit)
