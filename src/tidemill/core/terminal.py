"""The command line's side of the kernel: one way to connect, to print, and to fail."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ValidationError
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from tidemill.core.errors import ConfirmationMissing, FileRefused, TidemillError, ValueUnfit
from tidemill.core.http import Http
from tidemill.core.table_layout import GAP, all_columns, fit_columns, table_lines
from tidemill.core.value_faults import first_fault
from tidemill.core.wire import Page

Column = tuple[str, str | Callable[[Any], Any]]
"""A heading, and the attribute (or a function of the value) that is shown under it."""

CursorOption = Annotated[str | None, typer.Option("--cursor", help="Where the page before ended.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, max=500, help="How many at most.")]


def plain_console(*, stderr: bool = False) -> Console:
    """Return a console that prints text as it is: `[KIND]` and `:key:` in a name are no markup. Styles need a Text."""
    return Console(stderr=stderr, markup=False, emoji=False)


@dataclass
class Terminal:
    """The connection, the console and the output format of one command."""

    connect: Callable[[bool], Http]
    as_json: bool = False
    wide: bool = False
    """Whether tables show every column in full, however narrow the terminal is."""
    out: Console = field(default_factory=lambda: plain_console())
    err: Console = field(default_factory=lambda: plain_console(stderr=True))

    @cached_property
    def http(self) -> Http:
        """The connection, opened on first use."""
        return self.connect(False)

    @cached_property
    def working_http(self) -> Http:
        """A connection to a server that runs jobs and models: the live one, or one that ends with this command."""
        return self.connect(True)

    def print(self, *lines: Any) -> None:
        """Print a line for people; nothing with --json."""
        if not self.as_json:
            for line in lines:
                self.out.print(line)

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before what cannot be undone; exit the command unless the answer is yes.

        Raises ConfirmationMissing when there is nobody to ask: no terminal, or --json.
        """
        if yes:
            return
        if self.as_json or not sys.stdin.isatty():
            raise ConfirmationMissing(f"{question} Nobody is here to answer.", hint="Add --yes if that is meant.")
        if not typer.confirm(question, err=True):
            self.err.print("Nothing was changed.")
            raise typer.Exit(1)

    def show(self, value: BaseModel, rows: Sequence[Column] | None = None) -> None:
        """Print one value: as JSON, or as a table of names and values."""
        if self.as_json:
            self._json(value)
            return
        columns: Iterable[Column] = rows or [(name.replace("_", " "), name) for name in type(value).model_fields]
        cells = [(heading, cell(_read(value, source))) for heading, source in columns]
        width = max((cell_len(heading) for heading, _ in cells), default=0) + GAP
        for heading, content in cells:
            for number, line in enumerate(self._wrapped(content, width)):
                label = Text(f"{'' if number else heading:<{width}}", style="bold")
                self.out.print(label + line, soft_wrap=True)

    def _wrapped(self, content: Text, indent: int) -> Sequence[Text]:
        """Return the lines of a text; one with a word that no line holds stays whole, so that it can be copied."""
        room = (self.table_width or sys.maxsize) - indent
        if max(map(cell_len, content.plain.split()), default=0) > room:
            room = sys.maxsize
        lines = [line for part in content.split("\n", allow_blank=True) for line in part.wrap(self.out, room)]
        return lines or [Text()]

    def table(
        self,
        values: Page[Any] | Sequence[BaseModel],
        columns: Sequence[Column],
        *,
        empty: str,
        title: str | None = None,
    ) -> None:
        """Print many values: as JSON, or as a table of one line each. `empty` is printed when there are none.

        Columns stand in the order of their importance: on a narrow terminal the last are left out, and named below.
        """
        if self.as_json:
            self._json(values)
            return
        items = values.items if isinstance(values, Page) else values
        if not items:
            self.out.print(Text(empty, style="dim"))
            return
        rows = [[cell(_read(item, source)) for _, source in columns] for item in items]
        self.rows([heading for heading, _ in columns], rows, title=title)
        if isinstance(values, Page):
            self.more(values)

    def more(self, page: Page[Any]) -> None:
        """Say how the next page is asked for; nothing on the last one."""
        if page.next_cursor:
            self.out.print(Text(f"More: add --cursor {page.next_cursor}", style="dim"), soft_wrap=True)

    def rows(self, headings: Sequence[str], rows: Sequence[Sequence[Text]], *, title: str | None = None) -> None:
        """Print rows of ready cells as a table, laid out as `table` does it."""
        rows = [[cell(value) for value in row] for row in rows]
        width = self.table_width
        layouts = all_columns(headings, rows) if width is None else fit_columns(headings, rows, width)
        if title is not None:
            self.out.print(Text(title, style="italic"))
        for line in table_lines(headings, rows, layouts):
            self.out.print(line, soft_wrap=True)
        left_out = sorted(set(range(len(headings))) - {layout.index for layout in layouts})
        if left_out:
            names = ", ".join(headings[n] for n in left_out if headings[n])
            self.out.print(Text(f"Left out for want of room: {names}. --wide shows all.", style="dim"))

    @property
    def table_width(self) -> int | None:
        """Characters for a table; None for as many as it takes: with --wide, and where no person reads along."""
        if self.wide or (not self.out.is_terminal and "COLUMNS" not in self.out._environ):
            return None
        return self.out.width

    def paths(self, written: Sequence[Path]) -> None:
        """Print the paths of written files: one a line, or as a JSON list."""
        if self.as_json:
            sys.stdout.write(json.dumps([str(path) for path in written], ensure_ascii=False) + "\n")
            return
        for path in written:
            self.out.print(str(path), markup=False, highlight=False, soft_wrap=True)

    def _json(self, value: Any) -> None:
        if isinstance(value, BaseModel):
            text = value.model_dump_json(indent=2)
        else:
            text = json.dumps([v.model_dump(mode="json") for v in value], indent=2, ensure_ascii=False)
        sys.stdout.write(text + "\n")


def terminal(ctx: typer.Context) -> Terminal:
    """Return the terminal object of the running command."""
    term = ctx.find_object(Terminal)
    if term is None:
        raise RuntimeError("the command was started without its terminal")
    return term


def _read(value: Any, source: str | Callable[[Any], Any]) -> Any:
    return getattr(value, source) if isinstance(source, str) else source(value)


_CONTROLS = {code: "\N{REPLACEMENT CHARACTER}" for code in (*range(9), *range(11, 32), *range(127, 160))} | {13: "\n"}
"""Names and texts come from strangers: what steers a terminal is no part of what they say."""


def cell(value: Any) -> Text:
    """Return a value as a person reads it in a table."""
    if value is None:
        return Text("-", style="dim")
    if isinstance(value, Text):
        return value if value.plain.isprintable() else _without_controls(value)
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, datetime):
        return Text(value.astimezone().strftime("%Y-%m-%d %H:%M:%S"))
    if isinstance(value, float):
        return Text(f"{value:.4g}")
    if isinstance(value, BaseModel | dict):
        return Text(as_lines(value) or "-")
    if isinstance(value, list | tuple):
        if any(isinstance(inner, BaseModel | dict) for inner in value):
            return Text(as_lines(value) or "-")
        return Text(", ".join(str(cell(v)) for v in value) or "-")
    return Text(str(value).translate(_CONTROLS))


def as_lines(value: Any) -> str | None:
    """Return nested data as indented lines, `name: value`, as a person reads it; None for nothing."""
    return "\n".join(_lines(value)) or None


def _lines(value: Any) -> Iterator[str]:
    pairs: Iterable[tuple[str, Any]]
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, dict):
        pairs = ((f"{name}:", inner) for name, inner in value.items() if inner is not None)
    elif isinstance(value, list | tuple):
        pairs = (("-", inner) for inner in value)
    else:
        yield from [] if value is None else cell(value).plain.splitlines()
        return
    for name, inner in pairs:
        lines = list(_lines(inner))
        is_plain = not isinstance(inner, dict | list | tuple | BaseModel)
        if is_plain or (isinstance(inner, dict) and name == "-"):
            yield f"{name} {lines[0] if lines else '-'}"
            yield from (f"  {line}" for line in lines[1:])
        elif lines:
            yield name
            yield from (f"  {line}" for line in lines)


def _without_controls(text: Text) -> Text:
    # Each character for one, so the styles stay in place.
    return Text(text.plain.translate(_CONTROLS), style=text.style, spans=list(text.spans))


def size(count: int | None) -> str:
    """Return bytes as a person reads them: 93.4 MB."""
    if count is None:
        return "-"
    number = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def duration(seconds: float | None) -> str:
    """Return seconds as a person reads them: 4 min 10 s."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{seconds:.1f} s"
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60} s"
    return f"{total // 3600} h {total % 3600 // 60} min"


def say_it_goes_on(term: Terminal, what: str, show: str, cancel: str | None) -> None:
    """Say to who ended the waiting that the work goes on, and the commands that show and end it."""
    text = f"\nStopped waiting. {what} is not cancelled: it goes on while a server runs (tidemill up)."
    term.err.print(text, soft_wrap=True)
    ends = f"   End it: tidemill {cancel}" if cancel else ""
    term.err.print(f"See it: tidemill {show}{ends}", soft_wrap=True)


@contextmanager
def waiting_for(term: Terminal, what: str, show: str, cancel: str | None) -> Iterator[None]:
    """Wait in the block; Ctrl-C exits with 130 and says that `what` goes on, as `say_it_goes_on` does."""
    try:
        yield
    except KeyboardInterrupt as error:
        say_it_goes_on(term, what, show, cancel)
        raise SystemExit(130) from error


@contextmanager
def failing_plainly(as_json: Callable[[], bool]) -> Iterator[None]:
    """Print one line (and the hint) for what went wrong and exit 1; Ctrl-C exits 130."""
    try:
        yield
    except (TidemillError, ValidationError, OSError) as error:
        named = _as_tidemill_error(error)
        if as_json():
            sys.stderr.write(json.dumps({"error": named.body().model_dump()}, ensure_ascii=False) + "\n")
        else:
            console = Console(stderr=True, highlight=False, soft_wrap=True)
            console.print(Text("Error: ", style="bold red") + Text(f"{named.message} [{named.code}]"))
            if named.hint:
                console.print(Text("  " + named.hint, style="yellow"))
        raise SystemExit(1) from error
    except KeyboardInterrupt as error:
        sys.stderr.write("\nInterrupted. Nothing is lost: the same command goes on.\n")
        raise SystemExit(130) from error


def _as_tidemill_error(error: TidemillError | ValidationError | OSError) -> TidemillError:
    """Return `error` as one of Tidemill's, when it is a setting, an argument or a file that was refused."""
    if isinstance(error, TidemillError):
        return error
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return FileRefused(f"{where}{error.strerror or error}.", hint="Check the path and its permissions.")
    field, fault = first_fault(error)
    if error.title == "Settings":
        return ValueUnfit(f"TIDEMILL_{field.upper()}: {fault}.", hint="docs/reference/settings.md lists every setting.")
    return ValueUnfit(f"{field}: {fault}." if field else f"{fault}.", hint="`--help` says what each option takes.")
