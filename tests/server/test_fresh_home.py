"""What somebody reads who has made nothing yet: every empty answer says what to do next."""

import shlex
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError
from typer.testing import CliRunner

from tidemill.cli import COMMANDS, app
from tidemill.client import Client
from tidemill.core.commands import load
from tidemill.core.errors import TidemillError
from tidemill.core.value_faults import first_fault
from tidemill.core.wire import Name
from tidemill.gateway.types import unknown_model


@pytest.fixture
def embedded(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """All commands use one embedded home, and a wide screen."""
    monkeypatch.setattr("tidemill.cli._connect", lambda _workers: client.http)
    monkeypatch.setenv("COLUMNS", "200")


def said(line: str) -> str:
    """What a command writes, or its error with the hint."""
    result = CliRunner().invoke(app, shlex.split(line))
    if isinstance(result.exception, TidemillError):
        return f"{result.exception.message} {result.exception.hint}"
    assert result.exit_code == 0, f"{line}: {result.output}"
    return result.output


@pytest.mark.usefixtures("embedded")
def test_every_empty_list_says_what_to_do_next() -> None:
    full = {"access", "audit", "storage"}
    for name, entry in COMMANDS.items():
        if "list" in getattr(load(name, entry), "commands", ()) and name not in full:
            assert "tidemill " in said(f"{name} list"), name
    assert "tidemill deploy RELEASE" in said("environments")


@pytest.mark.usefixtures("embedded")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("jobs list --state failed", "No job fits."),
        ("runs list --state failed", "No run fits."),
        ("alerts list --state open", "No alert fits."),
        ("releases list --name mine", "no release 'mine'"),
        ("tune list --state failed", "No run is failed."),
        ("runs list --state faild", "the nearest is 'failed'"),
        ("deploy nothing@1 --env prod", "Make one: tidemill releases create"),
        ("releases create hello --model smollm2", "tidemill models add smollm2"),
        ("models add smollm", "no file, folder or packaged model 'smollm'"),
        ("run", "no pipeline was applied"),
    ],
)
def test_the_next_step_fits_what_was_asked(
    line: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert expected in said(line)


def test_a_model_that_nobody_serves() -> None:
    assert "Serve a release" in str(unknown_model("prod/hello", []).hint)
    assert "tidemill deployments list" in str(unknown_model("prod/hello", ["dev/kinds"]).hint)
    assert unknown_model("dev/kind", ["dev/kinds"]).hint == "Did you mean dev/kinds?"


def test_a_fault_names_the_value_but_no_secret() -> None:
    class Example(BaseModel):
        name: Name = "a"
        limit: int = 1
        secret: list[str] = []

    def fault(**values: object) -> tuple[str, str]:
        with pytest.raises(ValidationError) as caught:
            Example.model_validate(values)
        return first_fault(caught.value)

    assert fault(name="Hello")[1].startswith("'Hello' is no name. Lower-case letters")
    assert fault(limit="many")[1] == "'many' is no whole number"
    assert "tm-secret" not in fault(secret="tm-secret")[1]
