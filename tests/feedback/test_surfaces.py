"""Feedback, scores and datasets of answers through the SDK and the command line, on spans that came by OTLP."""

import json
from pathlib import Path

import httpx
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner, Result

from tests.traces.answers import trace_id
from tests.traces.otlp import export
from tidemill.client import Client
from tidemill.core.errors import Invalid, TidemillError
from tidemill.core.terminal import Terminal
from tidemill.feedback.cli import app as scores_app
from tidemill.feedback.cli import feedback, show
from tidemill.feedback.types import NothingToCollect, ScoreNotFound, TargetUnknown


@pytest.fixture
def client(client: Client) -> Client:
    """An embedded home with 30 recorded answers of two users."""
    for user, numbers in (("ada", range(10)), ("bob", range(10, 30))):
        sent = client.http.client.post(
            "/v1/traces", content=export(numbers, **{"user.id": user}), headers={"content-type": "application/json"}
        )
        assert sent.status_code == 200, sent.text
    return client


commands = typer.Typer()
commands.add_typer(scores_app, name="scores")
commands.command()(show)
commands.command()(feedback)


def tidemill(client: Client, *words: str, as_json: bool = False) -> Result:
    terminal = Terminal(connect=lambda _workers: client.http, as_json=as_json, out=Console(width=200))
    result = CliRunner().invoke(commands, list(words), obj=terminal)
    if isinstance(result.exception, TidemillError):
        raise result.exception
    return result


def test_the_sdk_from_feedback_to_a_dataset(client: Client) -> None:
    score = client.traces.feedback(response_id="chatcmpl-3", thumbs="down", correction={"type": "NUM"}, user="ada")
    assert (score.value, score.user, score.author) == (0.0, "ada", "ada")
    assert client.scores.get(score.id) == score
    reply = client.traces.feedback_bulk(
        [{"response_id": f"chatcmpl-{n}", "thumbs": "up"} for n in range(4, 8)] + [{"response_id": "nobody"}]
    )
    assert (reply.kept, reply.refused) == (4, 1)
    assert client.scores.record(trace_id=trace_id(1), name="short", score=1, scorer="my-check").source == "code"
    listed = client.scores.list(name="feedback", user="ada", limit=2)
    rest = client.scores.list(name="feedback", user="ada", cursor=listed.next_cursor)
    assert (len(listed.items), len(rest.items), rest.items[-1]) == (2, 3, score)
    points = client.scores.series(name="feedback", by="model").points
    assert [(p.key, p.count, p.mean) for p in points] == [("hello", 5, 0.8)]
    made = client.traces.to_dataset("live", "classification", filter={}, only="liked", wait=False)
    assert (made.rows, made.quarantined) == (5, {})
    assert client.traces.collections.list(trace_id=trace_id(3)).items == [made]
    assert client.traces.collections.get(made.id) == made
    items = client.traces.collections.items(made.id).items
    assert [i.corrected for i in items].count(True) == 1
    client.scores.delete(score.id)
    with pytest.raises(ScoreNotFound):
        client.scores.get(score.id)


def test_errors_come_back_as_the_classes_they_were(client: Client) -> None:
    with pytest.raises(TargetUnknown, match="chatcmpl-none"):
        client.traces.feedback(response_id="chatcmpl-none", thumbs="up")
    with pytest.raises(NothingToCollect):
        client.traces.to_dataset("live", "chat", filter={"user": "nobody"})
    raw: httpx.Response = client.http.client.post("/api/feedback", json={"response_id": "chatcmpl-1"})
    assert (raw.status_code, raw.json()["error"]["code"]) == (422, "invalid")
    assert "nothing is said" in raw.json()["error"]["message"]
    for body in (b"", b"{", b"[1]", b"\xff"):
        assert client.http.client.post("/api/feedback", content=body).status_code in (400, 422)
    items = [{"response_id": "chatcmpl-1", "thumbs": "up"}] * 1001
    assert client.http.client.post("/api/feedback/bulk", json={"items": items}).status_code == 422
    with pytest.raises(Invalid):
        client.http.get("/api/scores", type(client.scores.list()), {"colour": "red"})


def test_the_command_line_gives_and_shows_feedback(client: Client, tmp_path: Path) -> None:
    said = ["--down", "--correction", '{"type": "NUM"}', "--comment", "a number", "--user", "ada"]
    assert "a number" in tidemill(client, "feedback", "chatcmpl-3", *said).output
    assert "0.5" in tidemill(client, "feedback", f"{trace_id(4)}:{trace_id(4)[:16]}", "--score", "0.5").output
    lines = [json.dumps({"response_id": f"chatcmpl-{n}", "thumbs": "up"}) for n in (5, 6)]
    file = tmp_path / "many.jsonl"
    file.write_text("\n".join([*lines, json.dumps({"response_id": "gone", "thumbs": "up"})]))
    many = tidemill(client, "feedback", "--file", str(file))
    assert many.exit_code == 1
    assert "2 kept, 1 refused" in many.output
    assert "item 3: No recorded call has the response id 'gone'" in many.output
    shown = tidemill(client, "scores", "list").output
    assert "chatcmpl-6" in shown
    assert '→ {"type": "NUM"}' in shown
    assert json.loads(tidemill(client, "scores", "list", trace_id(3), as_json=True).output)["items"][0]["user"] == "ada"
    series = tidemill(client, "scores", "series", "--by", "model").output
    assert "hello" in series
    assert "█" in series


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["feedback"], "Which answer"),
        (["feedback", "chatcmpl-1", "--file", "x"], "one of the two"),
        (["feedback", "--file", "LINES"], "LINES:2 is not JSON"),
    ],
)
def test_a_wrong_command_says_what_to_do(
    client: Client, words: list[str], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("LINES").write_text('{"response_id": "x"}\n{oops\n')
    with pytest.raises(TidemillError) as caught:
        tidemill(client, *words)
    assert why in f"{caught.value.message} {caught.value.hint}"


def test_a_trace_is_shown_with_what_was_said_about_it(client: Client) -> None:
    client.traces.feedback(response_id="chatcmpl-3", thumbs="down", correction="Oslo", user="ada")
    client.traces.feedback(trace_id=trace_id(3), label="short", name="tone")
    terminal = Terminal(connect=lambda _workers: client.http, out=Console(width=100))
    shown = CliRunner().invoke(commands, ["show", "chatcmpl-3"], obj=terminal).output
    assert "feedback  0  → Oslo  person ada" in shown
    assert "tone  short  person owner" in shown
