"""Callers, bodies and disconnects of bare ASGI applications."""

import asyncio
from typing import Any

import pytest

from tidemill.core import asgi
from tidemill.core.actors import OWNER, Actor
from tidemill.core.asgi import (
    LOCAL_SCOPE,
    Admission,
    BodyLimit,
    BodyOverLimit,
    ByteBudget,
    Message,
    Receive,
    authenticate,
    bearer_token,
    encode_headers,
    error_headers,
    limit_body,
    read_body,
    too_many_bytes,
    wait_for_disconnect,
)
from tidemill.core.errors import BodyIncomplete, BodyTimeout, TooLarge, Unauthorized, Unavailable

ADA = Actor(id="per_1", name="ada", roles=frozenset({"viewer"}))
LIMIT = BodyLimit(10, hint="Send less.")


class _BatchTooLarge(TooLarge):
    code = "test_batch_too_large"


def _admission(max_bytes: int = 100) -> Admission:
    return Admission(ByteBudget(max_bytes, too_many_bytes))


class _Keys:
    def __init__(self, *, remembered: bool = False) -> None:
        self.queries: list[str | None] = []
        self._remembered = remembered

    def authenticate(self, token: str | None) -> Actor:
        self.queries.append(token)
        if token != "good":
            raise Unauthorized("No.")
        return ADA

    def remembered(self, token: str) -> Actor | None:
        return ADA if self._remembered and token == "good" else None


def _scope(authorization: bytes | None = None, **more: Any) -> dict[str, Any]:
    headers = [(b"host", b"x")] + ([(b"authorization", authorization)] if authorization is not None else [])
    return {"type": "http", "headers": headers, **more}


def _receive(*messages: Message) -> Receive:
    remaining = list(messages)

    async def receive() -> Message:
        return remaining.pop(0)

    return receive


def _part(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


@pytest.mark.parametrize(
    ("header", "token"),
    [(b"Bearer good", "good"), (b"bearer  good ", "good"), (b"Basic good", None), (b"Bearer", ""), (None, None)],
)
def test_only_the_bearer_scheme_brings_a_token(header: bytes | None, token: str | None) -> None:
    assert bearer_token(_scope(header)["headers"]) == token


def test_a_key_is_looked_up_once_it_is_not_remembered() -> None:
    keys = _Keys()
    assert asyncio.run(authenticate(_scope(b"Bearer good"), keys)) is ADA
    assert keys.queries == ["good"]
    remembering = _Keys(remembered=True)
    assert asyncio.run(authenticate(_scope(b"Bearer good"), remembering)) is ADA
    assert remembering.queries == []


def test_without_a_key_only_the_in_process_caller_is_the_owner() -> None:
    assert asyncio.run(authenticate(_scope(**{LOCAL_SCOPE: True}), _Keys())) is OWNER
    for scope in (_scope(), _scope(b"Bearer bad"), _scope(b"Bearer bad", **{LOCAL_SCOPE: True})):
        with pytest.raises(Unauthorized):
            asyncio.run(authenticate(scope, _Keys()))


def test_a_body_is_read_to_its_end() -> None:
    receive = _receive(_part(b"hello", more=True), {"type": "http.request", "more_body": True}, _part(b"there"))
    assert asyncio.run(read_body(_scope(), receive, LIMIT, _admission())) == b"hellothere"


def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    scope = _scope()
    scope["headers"].append((b"content-length", b"11"))
    limit = BodyLimit(10, hint="Send smaller batches.", error=_BatchTooLarge)
    with pytest.raises(_BatchTooLarge) as caught:
        asyncio.run(read_body(scope, _receive(), limit, _admission()))
    assert (caught.value.message, caught.value.hint) == ("The body is larger than 10 bytes.", "Send smaller batches.")


def test_a_body_that_grows_over_the_limit_is_refused() -> None:
    receive = _receive(_part(b"123456", more=True), _part(b"78901", more=True))
    with pytest.raises(TooLarge):
        asyncio.run(read_body(_scope(), receive, LIMIT, _admission()))


def test_a_body_that_is_cut_short_is_a_bad_request() -> None:
    receive = _receive(_part(b"1", more=True), {"type": "http.disconnect"})
    with pytest.raises(BodyIncomplete):
        asyncio.run(read_body(_scope(), receive, LIMIT, _admission()))


async def _read_two(receive: Receive) -> list[bytes]:
    return [(await receive())["body"], (await receive())["body"]]


def test_a_body_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "BODY_TIMEOUT_S", 0.01)

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(BodyTimeout, match="was not complete after") as caught:
        asyncio.run(read_body(_scope(), receive, LIMIT, _admission()))
    assert (caught.value.status, caught.value.body().type) == (408, "invalid_request_error")


def test_a_framework_reads_up_to_the_limit() -> None:
    receive = limit_body(_receive(_part(b"12345"), _part(b"67890")), LIMIT, _admission())
    assert asyncio.run(_read_two(receive)) == [b"12345", b"67890"]
    with pytest.raises(BodyOverLimit):
        asyncio.run(_read_two(limit_body(_receive(_part(b"12345"), _part(b"678901")), LIMIT, _admission())))
    assert not issubclass(BodyOverLimit, Exception)


def test_waiting_for_the_disconnect_ends_with_it() -> None:
    messages = [_part(b""), {"type": "http.disconnect"}, _part(b"never read")]

    async def receive() -> Message:
        return messages.pop(0)

    asyncio.run(wait_for_disconnect(receive))
    assert messages == [_part(b"never read")]


def test_errors_of_a_status_carry_the_same_headers_everywhere() -> None:
    assert encode_headers(error_headers(401)) == [(b"www-authenticate", b"Bearer")]
    assert encode_headers(error_headers(503)) == [(b"retry-after", b"1")]
    assert error_headers(404) == {}


def test_requests_inside_are_bounded_in_bytes_and_one_alone_comes_in() -> None:
    budget = ByteBudget(100, too_many_bytes)
    with budget.admit() as large:
        large.grow(150)
        with budget.admit() as other, pytest.raises(Unavailable) as caught:
            other.grow(1)
        assert caught.value.status == 503
        assert error_headers(caught.value.status) == {"retry-after": "1"}
    assert budget.used_bytes == 0
    with budget.admit() as one, budget.admit() as two:
        one.grow(60)
        two.grow(40)
        with pytest.raises(Unavailable):
            one.grow(1)
    assert budget.used_bytes == 0


def test_a_body_that_does_not_fit_in_now_is_refused_while_it_is_read() -> None:
    budget = ByteBudget(15, too_many_bytes)
    with budget.admit() as one, budget.admit() as two:
        one.grow(10)
        with pytest.raises(Unavailable):
            asyncio.run(read_body(_scope(), _receive(_part(b"12345", more=True), _part(b"6789")), LIMIT, two))
        with pytest.raises(BodyOverLimit) as caught:
            asyncio.run(_read_two(limit_body(_receive(_part(b"678901")), LIMIT, two)))
        assert isinstance(caught.value.error, Unavailable)
