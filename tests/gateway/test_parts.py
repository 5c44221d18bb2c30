"""Trace context and user in headers, and the time of engines."""

import pytest

from tidemill.gateway.engine_time import EngineTime
from tidemill.gateway.request_metadata import RequestMetadata, read_metadata

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def parent(value: str) -> RequestMetadata:
    return read_metadata([(b"traceparent", value.encode())])


@pytest.mark.parametrize("value", [f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00", f"cc-{TRACE}-{SPAN}-01-what"])
def test_a_callers_trace_goes_on(value: str) -> None:
    context = parent(value)
    assert context.trace_id.hex() == TRACE
    assert context.parent_id is not None
    assert context.parent_id.hex() == SPAN


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"0g-{TRACE}-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{' ' * 32}-{SPAN}-01",
        "\xff" * 55,
    ],
)
def test_what_is_no_parent_begins_a_trace_of_its_own(value: str) -> None:
    metadata = read_metadata([(b"traceparent", value.encode("latin-1"))])
    assert metadata.parent_id is None
    assert len(metadata.trace_id) == 16
    assert metadata.trace_id.hex() != TRACE


def test_user_and_session_come_from_headers() -> None:
    metadata = read_metadata(
        [(b"x-tidemill-user", "żaba".encode()), (b"x-tidemill-session", b"\xfcber"), (b"host", b"x")]
    )
    assert (metadata.user, metadata.session) == ("żaba", "über")
    assert read_metadata([]).user is None


def test_requests_at_once_share_an_engines_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    times = EngineTime()
    first = times.enter("e")
    now[0] = 2.0
    second = times.enter("e")
    other = times.enter("f")
    now[0] = 6.0
    assert times.leave("e", first) == 2.0 + 4.0 / 2
    now[0] = 7.0
    assert times.leave("e", second) == 4.0 / 2 + 1.0
    assert times.leave("f", other) == 5.0
    assert times.leave("f", times.enter("f")) == 0.0
