"""`tidemill traces` on a terminal of eighty columns."""

import json
from pathlib import Path

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from tests.traces.makers import call, record, write
from tidemill.cli import app
from tidemill.core.settings import Settings
from tidemill.server.app import build_kernel
from tidemill.traces.rendering import format_cost, format_duration, format_tokens, format_value, render_bar


def run(*argv: str) -> str:
    result = CliRunner().invoke(app, ["traces", *argv], env={"COLUMNS": "80"})
    assert result.exit_code == 0, (result.output, result.exception)
    lines = result.output.splitlines()
    assert all(cell_len(line) <= 80 for line in lines if "--cursor" not in line), result.output
    return result.output


@pytest.fixture
def stored(home: Path) -> Path:
    """A home with one trace of three spans and another that failed."""
    kernel = build_kernel(Settings(home=home))
    write(
        kernel,
        record(1, trace=0xABCDEF << 104, name="support agent", kind="agent", session="s1", user="ada"),
        call(
            2, "Where is my order?", trace=0xABCDEF << 104, parent=1, cost_usd=0.0021, response_id="chatcmpl-7",
            name="a name that is much too long for a terminal of eighty columns " * 2, ttft_ms=120.0,
        ),
        record(3, trace=0xABCDEF << 104, parent=2, name="get_order", kind="tool"),
        call(4, "[bold]no markup[/bold]", trace=0xFEDCBA << 104, status="error", status_message="429 from above"),
    )  # fmt: skip
    kernel.close()
    return home


@pytest.mark.slow
def test_listing_tree_and_span(stored: Path) -> None:
    listed = run("list")
    assert "abcdef0000" in listed
    assert "support agent" in listed
    assert "1✗" in listed
    tree = run("tree", "abcdef")
    assert "├" in tree or "└" in tree
    assert "  └ get_order" in tree
    shown = run("show", "abcdef")
    assert "user: Where is my order?" in shown
    assert "assistant: you said Where is my order?" in shown
    assert "first token 120 ms" in shown
    assert run("show", "chatcmpl-7") == shown
    assert "get_order" in run("show", "abcdef", "--span", "0000000000000003")
    failed = run("show", "fedcba", "--whole")
    assert "[bold]no markup[/bold]" in failed
    assert "429 from above" in failed


@pytest.mark.slow
def test_search_series_sessions_users_days_and_prune(stored: Path) -> None:
    assert "Where is my order?" in run("search", "order", "where")
    assert "No span has all these words." in run("search", "unheard")
    assert "small" in run("series", "--by", "model")
    assert "Nothing in this time." in run("series", "--by", "model", "--key", "other")
    assert "s1" in run("sessions")
    assert "ada" in run("users", "--since", "2h")
    assert "2" in run("days")
    assert "0 days with 0 spans removed" in run("prune")
    assert "1 days with 4 spans removed" in run("prune", "--before", "2999-01-01")
    assert "No traces." in run("list")


def test_json_and_wrong_words(stored: Path) -> None:
    found = CliRunner().invoke(app, ["--json", "traces", "list", "--status", "error"])
    assert [item["trace_id"][:6] for item in json.loads(found.stdout)["items"]] == ["fedcba"]
    for argv, hint in (
        (("list", "--since", "tomorrow"), "is no time"),
        (("prune", "--before", "last week"), "is no day"),
        (("show", "abcdef", "--span", "99"), "has no span"),
        (("tree", "123456"), "No trace begins with"),
    ):
        result = CliRunner().invoke(app, ["traces", *argv])
        assert result.exit_code != 0
        assert hint in str(result.exception), argv


def test_figures_are_short() -> None:
    assert [format_duration(v) for v in (None, 0.4, 12.0, 1234.0, 90_000, 9_000_000)] == [
        "-", "0.4 ms", "12 ms", "1.2 s", "2 min", "2.5 h",
    ]  # fmt: skip
    assert [format_cost(v) for v in (None, 0.00001, 0.0021, 12.345)] == ["-", "<$.0001", "$0.0021", "$12.35"]
    assert format_tokens(123_456, 7) == "123k→7"
    assert format_tokens(0, 0) == "-"
    assert render_bar(1, 2, 4) == "██"
    assert format_value([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], None) == "a b"
    assert format_value("x" * 30, 10).endswith("(30 characters, --whole)")
