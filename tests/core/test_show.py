"""How a command shows one value."""

import io

import pytest
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tidemill.core.terminal import Terminal, waiting_for

HASH = "sha256:" + "81f480a6" * 8
TEXT = "Drift in outputs and inputs: the share of DESC grew from 22% to 36%, and four other tests say the same."


class Found(BaseModel):
    """A value with all that is hard to print."""

    content_hash: str = HASH
    title: str = TEXT
    note: str = ""
    lines: str = "one\ntwo"


def show(width: int | None) -> list[str]:
    out = Console(file=io.StringIO(), width=width, _environ={} if width is None else {"COLUMNS": str(width)})
    Terminal(connect=lambda workers: None, out=out).show(Found())  # type: ignore[arg-type, return-value]
    return out.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [50, 80])
def test_a_hash_stays_whole_and_text_is_wrapped_beside_its_name(width: int) -> None:
    lines = show(width)
    assert lines[0] == f"content hash  {HASH}"
    title = lines[1 : lines.index("note          ")] if "note          " in lines else lines[1:-3]
    assert len(title) > 1
    assert all(len(line) <= width for line in title)
    assert title[0].startswith("title         Drift in")
    assert all(line.startswith(" " * 14) for line in title[1:])
    assert " ".join(line[14:].strip() for line in title) == TEXT
    assert lines[-2:] == ["lines         one", "              two"]


def test_a_program_that_reads_along_gets_each_text_on_one_line() -> None:
    assert [line.rstrip() for line in show(None)] == [
        f"content hash  {HASH}", f"title         {TEXT}", "note", "lines         one", "              two",
    ]  # fmt: skip


def test_what_steers_a_terminal_is_not_printed() -> None:
    class Hostile(BaseModel):
        """A name that a stranger chose."""

        name: str = "a\x1b[31mred\x1b]0;title\x07\x9bb"

    out = Console(file=io.StringIO(), width=80, _environ={"COLUMNS": "80"})
    terminal = Terminal(connect=lambda workers: None, out=out)  # type: ignore[arg-type, return-value]
    terminal.show(Hostile())
    terminal.table([Hostile()], [("name", "name")], empty="")
    terminal.rows(["name"], [[Text(Hostile().name, style="bold")]])
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("\N{REPLACEMENT CHARACTER}[31mred") == 3
    assert not set(text) & set("\x1b\x07\x9b")


def test_brackets_and_colons_in_a_text_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(connect=lambda workers: None)  # type: ignore[arg-type, return-value]
    terminal.print("[KIND] a[bold]b[/bold] :key:", Text("[/red]"))
    terminal.err.print("[/nothing] :smile:")
    table = Table("[heading]", box=None)
    table.add_row("[b]cell[/b]")
    terminal.print(table)
    printed = capsys.readouterr()
    assert printed.out.split() == ["[KIND]", "a[bold]b[/bold]", ":key:", "[/red]", "[heading]", "[b]cell[/b]"]
    assert printed.err == "[/nothing] :smile:\n"


def test_who_stops_waiting_is_told_that_the_work_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(connect=lambda workers: None)  # type: ignore[arg-type, return-value]
    with (
        pytest.raises(SystemExit) as ended,
        waiting_for(terminal, "The run loop#3", "runs show loop#3", "runs cancel loop#3"),
    ):
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert capsys.readouterr().err.splitlines()[1:] == [
        "Stopped waiting. The run loop#3 is not cancelled: it goes on while a server runs (tidemill up).",
        "See it: tidemill runs show loop#3   End it: tidemill runs cancel loop#3",
    ]
