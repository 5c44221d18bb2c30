"""Patience with an endpoint that misbehaves in every way that real ones do."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tests.evals.endpoint import Running
from tidemill.evals.chat import ChatAnswer, ChatEndpoint, ask, retry_after
from tidemill.evals.types import TargetRefused


def asked(outside: Running, text: str, model: str = "good", **options: object) -> ChatAnswer:
    endpoint = ChatEndpoint(outside.url, **{"attempts": 4, "first_wait": 0.01, "timeout": 5.0, **options})

    async def once() -> ChatAnswer:
        async with endpoint.session(4) as session:
            body = {"model": model, "messages": [{"role": "user", "content": text}]}
            return await ask(session, endpoint, body)

    return asyncio.run(once())


def test_an_answer_with_its_tokens_and_latency(outside_endpoint: Running) -> None:
    answer = asked(outside_endpoint, "how many", api_key="k1")
    assert answer.text == '{"type": "NUM"}'
    assert (answer.prompt_tokens, answer.output_tokens, answer.finish_reason, answer.attempts) == (7, 3, "stop", 1)
    assert answer.latency_ms is not None
    assert outside_endpoint.requests()[0]["auth"] == "Bearer k1"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_what_passes_is_waited_for(outside_endpoint: Running, status: int) -> None:
    answer = asked(outside_endpoint, f"flaky {status} 2 0 x")
    assert (answer.error, answer.attempts) == (None, 3)


def test_retry_after_is_obeyed(outside_endpoint: Running) -> None:
    began = time.monotonic()
    assert asked(outside_endpoint, "flaky 429 1 1 x").error is None
    assert time.monotonic() - began >= 1.0


@pytest.mark.parametrize(
    ("text", "code", "tries"),
    [
        ("flaky 500 99 0 x", "http_500", 4),
        ("garbage", "not_json", 4),
        ("empty", "not_a_completion", 4),
        ("cut", "connection_failed", 4),
        ("refuse", "http_400", 1),
    ],
)
def test_what_does_not_pass_is_a_failure_of_that_item(
    outside_endpoint: Running, text: str, code: str, tries: int
) -> None:
    answer = asked(outside_endpoint, text)
    assert answer.text is None
    assert answer.error is not None
    assert (answer.error.code, answer.attempts) == (code, tries)
    assert len(outside_endpoint.requests()) == tries


def test_a_slow_answer_times_out(outside_endpoint: Running) -> None:
    answer = asked(outside_endpoint, "slow", attempts=2, timeout=0.3)
    assert answer.error is not None
    assert answer.error.code == "timeout"
    assert "0.3 s (after 2 tries)" in answer.error.message


def test_an_endpoint_that_is_not_there(outside_endpoint: Running) -> None:
    unreachable = Running("http://127.0.0.1:9/v1", outside_endpoint.log)
    answer = asked(unreachable, "hello", attempts=2)
    assert answer.error is not None
    assert answer.error.code == "connection_failed"


def test_a_missing_model_ends_it_at_once(outside_endpoint: Running) -> None:
    with pytest.raises(TargetRefused, match="no such model: missing"):
        asked(outside_endpoint, "hello", model="missing")
    assert len(outside_endpoint.requests()) == 1


def test_retry_after_in_all_its_forms() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    past = format_datetime(datetime.now(UTC) - timedelta(seconds=20), usegmt=True)
    assert retry_after("7") == 7
    assert 15 < (retry_after(soon) or 0) <= 20
    assert retry_after(past) == 0
    assert retry_after("99999") == 60
    assert retry_after("-3") == 0
    assert retry_after("soon") is None
    assert retry_after("nan") is None
    assert retry_after(None) is None
