"""`tidemill prompts`."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from tidemill.core.errors import BadRequest
from tidemill.core.parsing import parse_json
from tidemill.core.terminal import Column, CursorOption, LimitOption, terminal
from tidemill.prompts.sdk import Prompts

app = typer.Typer(help="Prompt versions and labels.", no_args_is_help=True)

Ref = Annotated[str, typer.Argument(help="name, name@3, name@label or an id.")]
NameArgument = Annotated[str, typer.Argument(help="The prompt's name.")]

_VERSION_COLUMNS: list[Column] = [
    ("version", lambda v: f"{v.name}@{v.number}"),
    ("kind", "kind"),
    ("labels", "labels"),
    ("variables", "variables"),
    ("by", "created_by"),
    ("at", "created_at"),
    ("note", "note"),
]


def _pairs(values: list[str], option: str) -> dict[str, str]:
    pairs = {}
    for value in values:
        name, sign, rest = value.partition("=")
        if not sign:
            raise BadRequest(f"{option} {value!r} has no `=`.", hint=f"Write {option} name=value.")
        pairs[name] = rest
    return pairs


def _read(path: Path) -> str:
    if str(path) == "-":
        return sys.stdin.read()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"{path} cannot be read as UTF-8 text: {error}.", hint="Check the path.") from error


@app.command()
def create(
    ctx: typer.Context,
    name: NameArgument,
    system: Annotated[str | None, typer.Option(help="System message of a chat prompt.")] = None,
    user: Annotated[str | None, typer.Option(help="User message of a chat prompt.")] = None,
    text: Annotated[str | None, typer.Option(help="Template of a text prompt.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="A text template, or a JSON list of messages; - for standard input.")
    ] = None,
    parameter: Annotated[list[str] | None, typer.Option(help="Model parameter, name=JSON value.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Label to put on the new version.")] = None,
    note: Annotated[str, typer.Option(help="What changed and why.")] = "",
) -> None:
    """Save a new version of a prompt."""
    term = terminal(ctx)
    messages: list[dict[str, str]] | None = None
    if file is not None:
        text, messages = _template(_read(file))
    elif system is not None or user is not None:
        texts = (("system", system), ("user", user))
        messages = [{"role": role, "content": content} for role, content in texts if content is not None]
    if messages is None and text is None:
        raise BadRequest("No template was given.", hint="Use --system and --user, --text, or --file.")
    version = Prompts(term.http).create(
        name, messages=messages, text=text, parameters=_parameters(parameter or []), note=note, labels=label
    )
    term.show(version)


def _template(content: str) -> tuple[str | None, list[dict[str, str]] | None]:
    if content.lstrip().startswith("["):
        try:
            return None, parse_json(content)
        except json.JSONDecodeError as error:
            raise BadRequest(f"The list of messages is not JSON: {error}.") from error
    return content, None


def _parameters(values: list[str]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in _pairs(values, "--parameter").items():
        try:
            out[name] = parse_json(value)
        except json.JSONDecodeError:
            out[name] = value
    return out


@app.command("list")
def list_(ctx: typer.Context, cursor: CursorOption = None, limit: LimitOption = 50) -> None:
    """Every prompt with its newest version."""
    term = terminal(ctx)
    columns: list[Column] = [
        ("name", "name"),
        ("versions", "versions"),
        ("labels", lambda p: p.latest.labels),
        ("changed", lambda p: p.latest.created_at),
        ("by", lambda p: p.latest.created_by),
    ]
    empty = "No prompts yet. Make one: tidemill prompts create hello --system 'You are kind.'"
    term.table(Prompts(term.http).list(cursor=cursor, limit=limit), columns, empty=empty)


@app.command()
def show(ctx: typer.Context, ref: Ref) -> None:
    """One version, whole."""
    term = terminal(ctx)
    term.show(Prompts(term.http).get(ref))


@app.command()
def versions(ctx: typer.Context, name: NameArgument, cursor: CursorOption = None, limit: LimitOption = 50) -> None:
    """The versions of a prompt, newest first."""
    term = terminal(ctx)
    term.table(Prompts(term.http).versions(name, cursor=cursor, limit=limit), _VERSION_COLUMNS, empty="No versions.")


@app.command()
def label(
    ctx: typer.Context,
    name: NameArgument,
    label: Annotated[str, typer.Argument(help="Such as production.")],
    version: Annotated[int, typer.Argument(help="The number of the version.")],
    note: Annotated[str, typer.Option(help="Why.")] = "",
) -> None:
    """Put a label on a version."""
    term = terminal(ctx)
    term.show(Prompts(term.http).move_label(name, label, version, note=note))


@app.command()
def labels(
    ctx: typer.Context,
    name: NameArgument,
    label: Annotated[str | None, typer.Option(help="Only this label.")] = None,
    cursor: CursorOption = None,
    limit: LimitOption = 50,
) -> None:
    """Where labels stood, newest first."""
    term = terminal(ctx)
    columns: list[Column] = [
        ("label", "label"),
        ("version", "version"),
        ("before", "before"),
        ("by", "changed_by"),
        ("at", "changed_at"),
        ("note", "note"),
    ]
    term.table(Prompts(term.http).label_history(name, label, cursor=cursor, limit=limit), columns, empty="No labels.")


@app.command()
def render(
    ctx: typer.Context,
    ref: Ref,
    variable: Annotated[list[str] | None, typer.Option(help="Value of a variable, name=value.")] = None,
) -> None:
    """Fill in the variables and show the result."""
    term = terminal(ctx)
    rendered = Prompts(term.http).render(ref, **_pairs(variable or [], "--variable"))
    if term.as_json:
        term.show(rendered)
    elif rendered.text is not None:
        term.out.print(rendered.text, markup=False, highlight=False)
    else:
        for message in rendered.messages or []:
            term.out.print(Text(message.role, style="bold"))
            term.out.print(message.content, markup=False, highlight=False)


@app.command()
def diff(
    ctx: typer.Context,
    name: NameArgument,
    before: Annotated[str, typer.Argument(help="A number or a label.")],
    after: Annotated[str, typer.Argument(help="A number or a label.")] = "latest",
) -> None:
    """How one version differs from another."""
    term = terminal(ctx)
    difference = Prompts(term.http).diff(name, before, after)
    if term.as_json:
        term.show(difference)
        return
    colours = {"+": "green", "-": "red", "@": "cyan"}
    for line in difference.lines or ["The templates are the same."]:
        term.out.print(line, style=colours.get(line[:1], ""), markup=False, highlight=False)
    if difference.parameters_before != difference.parameters_after:
        term.print(f"parameters: {difference.parameters_before} -> {difference.parameters_after}")
