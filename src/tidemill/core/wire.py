"""The shapes that cross every boundary: the domain value, the HTTP body and the SDK's return are one type."""

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, PrivateAttr, StringConstraints

T = TypeVar("T")

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


class Value(BaseModel):
    """An immutable value that a service returns. Every field is always present on the wire."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_serialization_defaults_required=True, ser_json_inf_nan="null"
    )


class Body(BaseModel):
    """What a caller sends. An unknown field is refused, so that a typing error is never silently ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Page(Value, Generic[T]):
    """One page of a listing, newest first unless the listing says otherwise."""

    items: list[T]
    next_cursor: str | None = Field(
        default=None, description="Give it back as `cursor` for the next page; null on the last one."
    )
    _fetch: "Callable[[str], Page[T]] | None" = PrivateAttr(default=None)

    def fetched_by(self, fetch: "Callable[[str], Page[T]]") -> "Page[T]":
        """This page, knowing how to get the page at a cursor."""
        self._fetch = fetch
        return self

    def __iter__(self) -> Iterator[T]:  # type: ignore[override]  # pydantic's own gives the fields as pairs
        """Yield every item from here to the end of the listing; `items` holds those of this page alone.

        The next page, of the same `limit`, is fetched when it is needed:

            for release in client.releases.list(name="hello"):
                print(release.ref)

        Raises RuntimeError at the end of a page that has a next one but came from no client.
        """
        page = self
        yield from page.items
        while page.next_cursor is not None:
            if page._fetch is None:
                raise RuntimeError("this page came from no client, so the next one cannot be fetched: use `items`")
            page = page._fetch(page.next_cursor)
            yield from page.items


MAX_PAGE = 500
"""Items of one page at most."""


def iterate_pages(list_page: "Callable[[str | None, int], Page[T]]") -> Iterator[T]:
    """Yield every item of a listing of a service, page after page: `list_page(cursor, limit)` returns one of them."""
    cursor: str | None = None
    while True:
        page = list_page(cursor, MAX_PAGE)
        yield from page.items
        if page.next_cursor is None:
            return
        cursor = page.next_cursor


_FIRST_YEAR, _LAST_YEAR = 1900, 2900


def check_moment(value: datetime) -> datetime:
    """Return a moment in UTC. Raises ValueError for one that the sum with a span of time could not hold."""
    if not _FIRST_YEAR <= value.year <= _LAST_YEAR:
        raise ValueError(f"a moment outside the years {_FIRST_YEAR} to {_LAST_YEAR}")
    return value.astimezone(UTC)


Instant = Annotated[AwareDatetime, AfterValidator(check_moment)]
"""A moment in UTC. A time without a zone is refused, and one that the sum with a span of time could not hold."""

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"
NAME_RULE = "Lower-case letters, digits, dot, underscore and hyphen; at most 63 characters."

Name = Annotated[
    str,
    StringConstraints(pattern=NAME_PATTERN),
    Field(description=NAME_RULE),
]


def canonical_json(value: Any) -> bytes:
    """Return the one byte form of a JSON value: sorted keys, no spaces, UTF-8, no NaN.

    Raises ValueError for NaN and infinity, which JSON does not have.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def content_hash(value: Any) -> str:
    """`sha256:<hex>` over the canonical JSON of `value`. Equal content has an equal hash on every machine."""
    return "sha256:" + hashlib.sha256(canonical_json(value)).hexdigest()


class _Clock:
    """Numbers that only grow, so that of two ids made in one millisecond the later one sorts later."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def next(self) -> int:
        fresh = (int(time.time() * 1000) << 72) | int.from_bytes(os.urandom(9))
        with self._lock:
            if fresh >> 72 <= self._last >> 72:
                fresh = self._last + 1 + int.from_bytes(os.urandom(4))
            self._last = fresh
        return fresh


_clock = _Clock()


def new_id(prefix: str) -> str:
    """Return a new id such as `pv_01kaf3...`: 48 bits of milliseconds, then 72 random bits, so ids sort by time."""
    number = _clock.next()
    digits = []
    for _ in range(24):
        number, rest = divmod(number, 32)
        digits.append(_ALPHABET[rest])
    return f"{prefix}_{''.join(reversed(digits))}"


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)
