"""One name for one option in every command, and hints that a shell takes as they are."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tidemill.cli import RENAMED_OPTIONS, app
from tidemill.client import Client
from tidemill.data.types import ColumnUnknown, MappingUnclear, SplitClassEmpty, SplitEmpty


def options(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    for param in command.params:
        yield from ((path, name) for name in (*param.opts, *param.secondary_opts))
    for name in list(getattr(command, "commands", {})):
        yield from options(command.commands[name], (*path, name))


def test_an_option_has_one_name_in_all_commands() -> None:
    found = [(path, name) for path, name in options(typer.main.get_command(app)) if name[2:] in RENAMED_OPTIONS]
    assert not found, f"Call these as the other commands do: {RENAMED_OPTIONS}"


@pytest.mark.parametrize(
    "line",
    [
        "prompts render hello --var who=Ada",
        "prompts render hello --variable who=Ada",
        "releases approvals --environment prod",
        "calls list --environment dev --limit 3",
    ],
)
def test_the_names_of_the_release_before_are_taken(line: str, home: Path) -> None:
    with Client(home=home) as client:
        client.prompts.create("hello", text="Hello {{who}}")
    result = CliRunner().invoke(app, line.split())
    assert result.exit_code == 0, result.output
    assert "--var " not in CliRunner().invoke(app, ["prompts", "render", "--help"]).output


def test_hints_can_be_pasted(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "tickets.csv"
    file.write_text("a ticket's text,the kind;rm -rf\nhello,x\n")
    with Client(home=home) as client, pytest.raises(MappingUnclear) as unclear:
        client.data.import_(file, name="t")
    command = shlex.split(unclear.value.hint.partition("Try: ")[2])
    assert "prompt=a ticket's text" in command
    mapping = {"fields": {"text": "a tickets text", "label": "the kind;rm -rf"}}
    with Client(home=home) as client, pytest.raises(ColumnUnknown) as unknown:
        client.data.import_(file, name="t", row_schema="classification", mapping=mapping)
    assert shlex.split(unknown.value.hint.split("`")[1]) == ["--map", "text=a ticket's text"]


def test_a_label_that_is_an_id_is_named_as_the_cause(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "tickets.csv"
    file.write_text("text,label\n" + "".join(f"words about matter {n * 7919} here,T{n}\n" for n in range(60)))
    with Client(home=home, workers=True) as client, pytest.raises((SplitEmpty, SplitClassEmpty)) as caught:
        client.data.import_(file, name="t", split={"ratios": {"train": 0.8, "test": 0.2}})
    assert "classes 60 have one row: if the label is an id or free text, map another column" in caught.value.hint
