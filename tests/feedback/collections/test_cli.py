"""`tidemill traces to-dataset` and `tidemill traces collections`."""

import json
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner, Result

from tests.traces.otlp import export
from tidemill.client import Client
from tidemill.core.errors import BadRequest, TidemillError
from tidemill.core.terminal import Terminal
from tidemill.feedback.collections.cli import collections, to_dataset

commands = typer.Typer()
commands.command()(to_dataset)
commands.command()(collections)


def tidemill(client: Client, *words: str, as_json: bool = False) -> Result:
    terminal = Terminal(connect=lambda _workers: client.http, as_json=as_json, out=Console(width=200))
    result = CliRunner().invoke(commands, list(words), obj=terminal)
    if isinstance(result.exception, TidemillError):
        raise result.exception
    return result


@pytest.fixture
def client(client: Client) -> Client:
    """An embedded home with ten recorded answers of one user."""
    kind: dict[str, Any] = {"content-type": "application/json"}
    sent = client.http.client.post("/v1/traces", content=export(range(10), **{"user.id": "ada"}), headers=kind)
    assert sent.status_code == 200, sent.text
    return client


def test_answers_become_a_dataset_and_what_was_kept_apart_is_shown(client: Client) -> None:
    for number in range(5):
        client.traces.feedback(response_id=f"chatcmpl-{number}", thumbs="up" if number else "down")
    asked = ["to-dataset", "live", "--schema", "classification", "--only", "judged", "--cap-per-user", "3"]
    said = tidemill(client, *asked, "--label-field", "type", "--no-wait").output
    assert "3 answers became rows of live" in said
    assert "1 in quarantine: one user's rows beyond the cap" in said
    assert "1 in quarantine: turned down" in said
    (made,) = json.loads(tidemill(client, "collections", as_json=True).output)["items"]
    assert made["quarantined"] == {"over_cap": 1, "disliked": 1}
    apart = tidemill(client, "collections", made["id"], "--quarantined").output
    assert "chatcmpl-0" in apart
    assert "disliked" in apart
    with pytest.raises(BadRequest, match="a filter given"):
        tidemill(client, "to-dataset", "live", "--schema", "chat", "--response", "chatcmpl-1", "--env", "prod")
