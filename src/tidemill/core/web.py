"""What every route uses: the unit of work at the edge, the role it asks for, and pages."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Concatenate, ParamSpec, Protocol, TypeVar

from fastapi import Depends, Query, Request

from tidemill.core.actors import Actor, Role
from tidemill.core.errors import Invalid
from tidemill.core.kernel import Context, Kernel
from tidemill.core.parsing import parse_number
from tidemill.core.wire import MAX_PAGE, Page

P = ParamSpec("P")
R = TypeVar("R")
B = TypeVar("B")
T = TypeVar("T")

ROLE_KEY = "x-required-role"


def role(name: Role) -> dict[str, Any]:
    """For a route's `openapi_extra`: the role a caller needs. It stands in the OpenAPI document too."""
    return {ROLE_KEY: name}


@dataclass(frozen=True)
class RequestScope:
    """The kernel and the caller of one request. Each method runs one service function in one transaction."""

    kernel: Kernel
    actor: Actor

    def write(self, function: Callable[Concatenate[Context, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call `function(ctx, ...)` in a writing transaction."""
        with self.kernel.write(self.actor) as ctx:
            return function(ctx, *args, **kwargs)

    def write_after(self, prepare: Callable[[Kernel, B], T], function: Callable[[Context, B, T], R], body: B) -> R:
        """Call `prepare(kernel, body)` outside any transaction, then `function(ctx, body, prepared)` in a writing one.

        For what takes long, such as fetching files or comparing runs: nobody else waits to write meanwhile.
        `function` cannot trust that the database is still what `prepare` saw.
        """
        prepared = prepare(self.kernel, body)
        with self.kernel.write(self.actor) as ctx:
            return function(ctx, body, prepared)

    def read(self, function: Callable[Concatenate[Context, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call `function(ctx, ...)` in a reading transaction."""
        with self.kernel.read(self.actor) as ctx:
            return function(ctx, *args, **kwargs)


async def _request_scope(request: Request) -> RequestScope:
    return RequestScope(kernel=request.app.state.kernel, actor=request.state.actor)


RequestContext = Annotated[RequestScope, Depends(_request_scope)]
"""Type of a handler's parameter: the request's scope, its caller authenticated and allowed by `access.authorize`."""

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="How many at most.")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.")]


class HasId(Protocol):
    """Anything with an id that sorts by time."""

    @property
    def id(self) -> str:
        """Return the id, by which pages are ordered."""
        ...


class CursorInvalid(Invalid):
    """The cursor is none that this list has given."""

    code = "cursor_invalid"


def parse_cursor(cursor: str | None) -> int | None:
    """Return the number that a cursor of a numbered list says; None without a cursor. Raises CursorInvalid."""
    if cursor is None:
        return None
    number = parse_number(cursor)
    if number is None:
        raise CursorInvalid(
            f"{cursor[:80]!r} is no cursor of this list.",
            hint="Give back `next_cursor` of the page before, or none.",
            param="cursor",
        )
    return number


Item = TypeVar("Item", bound=HasId)


def page(rows: list[Item], limit: int) -> "Page[Item]":
    """Return a page of `limit` items out of up to `limit + 1`: an extra one says that there is a next page."""
    more = len(rows) > limit
    items = rows[:limit]
    return Page(items=items, next_cursor=items[-1].id if more else None)
