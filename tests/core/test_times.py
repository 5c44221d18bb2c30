"""A moment means the same in every command and every query."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from tidemill.cli import app
from tidemill.core.errors import BadRequest
from tidemill.core.http import InProcessTransport
from tidemill.core.settings import Settings
from tidemill.core.times import parse_time, parse_time_option
from tidemill.core.wire import utc_now
from tidemill.server.app import build

NOON = datetime(2026, 11, 21, 12, 3, tzinfo=UTC)

FORMS = {
    "2026-11-21T12:03Z": NOON,
    "2026-11-21T12:03:00.000000Z": NOON,
    "2026-11-21T13:03+01:00": NOON,
    "2026-11-21 13:03+01:00": NOON,
    "2026-11-21T14:03": NOON,  # by the reader's own clock
    "2026-11-21 14:03": NOON,
    "2026-11-21": datetime(2026, 11, 20, 22, tzinfo=UTC),
    " 2026-11-21 ": datetime(2026, 11, 20, 22, tzinfo=UTC),
}
NO_TIMES = ["", "soon", "7", "7x", "-7d", "9" * 5000, "9" * 5000 + "d", "999999999w", "²d", "2026-13-01", "2026-02-30"]
NO_TIMES += ["0001-01-01", "9999-12-31T23:59-14:00", "99999999999999", "2026-11-21T25:00", "20:00"]


@pytest.fixture
def _in_helsinki(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Helsinki")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_in_helsinki")
@pytest.mark.parametrize("text", FORMS)
def test_a_moment_is_read_by_the_readers_clock(text: str) -> None:
    assert parse_time(text) == FORMS[text]


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("6h", 21600), ("7d", 604800)])
def test_a_length_counts_from_now(text: str, seconds: int) -> None:
    before, length = utc_now(), timedelta(seconds=seconds)
    assert before - length <= parse_time(text) <= utc_now() - length
    assert before + length <= parse_time(text, ahead=True) <= utc_now() + length


@pytest.mark.parametrize("text", NO_TIMES)
def test_what_is_no_time_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_time(text)
    assert "2026-11-21T14:03Z" in str(caught.value.hint)
    assert len(caught.value.message) < 120


def test_none_is_none() -> None:
    assert parse_time_option(None) is None


COMMANDS = [
    ["traces", "list", "--since"],
    ["traces", "series", "--since"],
    ["traces", "sessions", "--since"],
    ["scores", "list", "--since"],
    ["scores", "list", "--until"],
    ["audit", "list", "--since"],
    ["audit", "list", "--until"],
    ["deployments", "history", "--at"],
    ["deployments", "at"],
    ["kpi", "series", "feedback", "--since"],
    ["monitors", "create", "topics", "--to", "1h", "--from"],
]
TYPED = ["2026-11-20T12:03Z", "2026-11-20T13:03+01:00", "2026-11-20 14:03", "2026-11-20", "7d"]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_takes_every_form(home: Path, command: list[str]) -> None:
    for number, text in enumerate(TYPED):
        argv = [f"{word}{number}" if word == "topics" else word for word in command]
        result = CliRunner().invoke(app, [*argv, text])
        assert result.exit_code == 0, (argv, text, result.output)
    refused = CliRunner().invoke(app, [*command, "soon"])
    assert refused.exit_code != 0
    assert "'soon' is no time" in " ".join((refused.output or str(refused.exception)).split())


QUERIES: list[tuple[str, dict[str, str], str]] = [
    ("/api/traces", {}, "since"),
    ("/api/traces", {}, "until"),
    ("/api/traces/series", {}, "since"),
    ("/api/calls", {}, "since"),
    ("/api/audit", {}, "since"),
    ("/api/alerts", {}, "since"),
    ("/api/kpi-series", {"score": "feedback"}, "since"),
    ("/api/deployments", {}, "at"),
]


def test_every_query_takes_every_form(home: Path) -> None:
    application = build(Settings(home=home))
    try:
        with httpx.Client(base_url="http://x", transport=InProcessTransport(application.asgi)) as client:
            for path, params, name in QUERIES:
                for text in ("2026-11-20T12:03Z", "2026-11-20T13:03+01:00", "2026-11-20", "7d", "90s"):
                    reply = client.get(path, params=params | {name: text})
                    assert reply.status_code == 200, (path, name, text, reply.text)
                for text in ("soon", "7x", "999999999w", "2026-02-30", "2026-11-20T12:03"):
                    reply = client.get(path, params=params | {name: text})
                    assert reply.status_code == 422, (path, name, text, reply.text)
    finally:
        application.kernel.close()
