"""`tidemill models`."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from tidemill.core.errors import BadRequest
from tidemill.core.terminal import Column, CursorOption, LimitOption, Terminal, YesOption, size, terminal
from tidemill.core.times import TIME_FORMS, parse_time_option
from tidemill.registry import sdk
from tidemill.registry.packaged import PACKAGED
from tidemill.registry.sdk import Models
from tidemill.registry.types import Kind, ModelFilesMissing, ModelVersion, ParentRef

app = typer.Typer(help="Models, adapters, their versions and aliases.", no_args_is_help=True)

Ref = Annotated[str, typer.Argument(help="name, name@3, name@alias or an id.")]
NameArgument = Annotated[str, typer.Argument(help="The model's name.")]
AliasArgument = Annotated[str, typer.Argument(help="Such as champion.")]

_VERSION_COLUMNS: list[Column] = [
    ("version", "ref"),
    ("kind", "kind"),
    ("format", "format"),
    ("quantisation", lambda v: v.facts.quantisation),
    ("size", lambda v: size(v.size)),
    ("servable", "servable"),
    ("licence", "licence"),
    ("by", "created_by"),
    ("at", "created_at"),
]

_ALIAS_COLUMNS: list[Column] = [
    ("alias", "alias"),
    ("version", "number"),
    ("since", "at"),
    ("by", "by"),
    ("reason", "reason"),
]

_SHOWN: list[Column] = [
    ("version", "ref"),
    ("id", "id"),
    ("kind", "kind"),
    ("format", "format"),
    ("servable", "servable"),
    ("size", lambda v: size(v.size)),
    ("architecture", lambda v: v.facts.architecture),
    ("parameters", lambda v: f"{v.facts.parameters:,}" if v.facts.parameters else None),
    ("quantisation", lambda v: v.facts.quantisation),
    ("context length", lambda v: v.facts.context_length),
    ("content", "content_hash"),
    ("chat template", "chat_template_hash"),
    ("licence", "licence"),
    ("parents", lambda v: [f"{p.id} ({p.relation})" for p in v.parents]),
    ("files", lambda v: [f.path for f in v.files]),
    ("by", "created_by"),
    ("at", "created_at"),
    (
        "files removed",
        lambda v: f"{v.files_removed_at:%Y-%m-%d}: {v.files_removed_why}" if v.files_removed_at else None,
    ),
]


@contextmanager
def _uploading(term: Terminal) -> Iterator[sdk.Progress]:
    """A bar for each file on standard error; nothing with --json."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=term.err, disable=term.as_json, transient=True) as bars:

        def report(label: str, sent_bytes: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = bars.add_task(label, total=total)
            bars.update(tasks[label], completed=sent_bytes)

        yield report


def _parents(values: list[str]) -> list[ParentRef]:
    parents = []
    for value in values:
        version, sign, relation = value.rpartition(":")
        try:
            parents.append(ParentRef.model_validate({"version": version, "relation": relation}))
        except ValidationError as error:
            reason = f"the relation {relation!r} is not known" if sign else "it has no `:relation`"
            raise BadRequest(
                f"--parent {value!r} cannot be read: {reason}.", hint="Write --parent smollm2@1:quantised_from."
            ) from error
    return parents


@app.command()
def add(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(help=f"A file, a folder, or a packaged model: {', '.join(PACKAGED)}.")],
    name: Annotated[str | None, typer.Option(help="The model's name; needed for a file or folder.")] = None,
    kind: Annotated[str | None, typer.Option(help="base, adapter, tuned, merged or quantised.")] = None,
    parent: Annotated[list[str] | None, typer.Option(help="What it was made from, version:relation.")] = None,
    licence: Annotated[str | None, typer.Option(help="SPDX identifier, such as Apache-2.0.")] = None,
    description: Annotated[str, typer.Option(help="Describes a new model.")] = "",
) -> None:
    """Register a model: upload its files and check them. The same files again change nothing."""
    term = terminal(ctx)
    models = Models(term.http)
    with _uploading(term) as progress:
        if source in PACKAGED and not Path(source).exists():
            version = models.add_packaged(source, name=name, progress=progress)
        else:
            if not Path(source).exists():
                raise ModelFilesMissing(
                    f"There is no file, folder or packaged model {source!r}.",
                    hint=f"Check the path. Packaged: {', '.join(PACKAGED)}.",
                )
            if name is None:
                if not source.strip():
                    raise BadRequest("What is registered?", hint="Give a file, a folder or a packaged model.")
                raise BadRequest(
                    f"{source} needs a name.", hint=f"tidemill models add {shlex.quote(source)} --name NAME"
                )
            version = models.add(
                source,
                name=name,
                kind=_kind(kind),
                parents=_parents(parent or []),
                licence=licence,
                description=description,
                progress=progress,
            )
    _show(term, version)


def _kind(value: str | None) -> Kind | None:
    kinds: dict[str, Kind] = {k: k for k in ("base", "adapter", "tuned", "merged", "quantised")}
    if value is not None and value not in kinds:
        raise BadRequest(f"There is no kind {value!r}.", hint=f"Known: {', '.join(kinds)}.")
    return kinds[value] if value is not None else None


def _show(term: Terminal, version: ModelVersion) -> None:
    term.show(version, _SHOWN)


@app.command("list")
def list_(ctx: typer.Context, cursor: CursorOption = None, limit: LimitOption = 50) -> None:
    """Every model."""
    term = terminal(ctx)
    columns = [
        ("name", "name"),
        ("versions", "versions"),
        ("description", "description"),
        ("since", "created_at"),
        ("by", "created_by"),
    ]
    empty = "No models yet. Register the packaged one: tidemill models add smollm2"
    term.table(Models(term.http).list(cursor=cursor, limit=limit), columns, empty=empty)


@app.command()
def show(ctx: typer.Context, ref: Ref) -> None:
    """One version, with what points at it and why it may be served."""
    term = terminal(ctx)
    models = Models(term.http)
    version = models.get(ref)
    _show(term, version)
    if term.as_json:
        return
    standing = [a for a in models.aliases(version.model).items if a.version_id == version.id]
    if standing:
        term.table(standing, _ALIAS_COLUMNS, empty="", title="\nAliases")
    columns = [("evidence", "kind"), ("hop", "hop"), ("passed", "passed"), ("at", "at"), ("summary", "summary")]
    none = "\nNo parity proof yet, so it cannot be served." if not version.servable else ""
    term.table(models.evidence(version.id), columns, empty=none, title="\nEvidence")


@app.command()
def versions(ctx: typer.Context, name: NameArgument, cursor: CursorOption = None, limit: LimitOption = 50) -> None:
    """The versions of a model, newest first."""
    term = terminal(ctx)
    term.table(Models(term.http).versions(name, cursor=cursor, limit=limit), _VERSION_COLUMNS, empty="No versions.")


@app.command()
def alias(
    ctx: typer.Context,
    name: NameArgument,
    alias: AliasArgument,
    version: Annotated[str | None, typer.Argument(help="A number, another alias or an id.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why; kept in the history.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the alias away.")] = False,
) -> None:
    """Point an alias at a version, or take it away."""
    term = terminal(ctx)
    if reason is None:
        raise BadRequest("Moving an alias needs a reason.", hint="Add --reason 'why'.")
    if remove == (version is not None):
        raise BadRequest(
            "Give either a version or --remove.",
            hint=f"tidemill models alias {shlex.quote(name)} {shlex.quote(alias)} 3 --reason …",
        )
    if version is None:
        term.show(Models(term.http).remove_alias(name, alias, reason=reason), _ALIAS_COLUMNS)
    else:
        term.show(Models(term.http).move_alias(name, alias, version, reason=reason), _ALIAS_COLUMNS)


@app.command()
def aliases(ctx: typer.Context, name: NameArgument) -> None:
    """Where the aliases of a model point now."""
    term = terminal(ctx)
    empty = f"No aliases. Make one: tidemill models alias {shlex.quote(name)} champion 1 --reason 'first'"
    term.table(Models(term.http).aliases(name), _ALIAS_COLUMNS, empty=empty)


@app.command()
def history(
    ctx: typer.Context,
    name: NameArgument,
    alias: AliasArgument,
    at: Annotated[str | None, typer.Option(help=f"Which version it named then: {TIME_FORMS}.")] = None,
) -> None:
    """Every move of an alias; with --at, the version that it named at that moment."""
    term = terminal(ctx)
    if at is not None:
        _show(term, Models(term.http).alias_at(name, alias, parse_time_option(at)))
        return
    alias_history = Models(term.http).alias_history(name, alias)
    if term.as_json:
        term.show(alias_history)
        return
    term.table(alias_history.changes, _ALIAS_COLUMNS, empty="")


@app.command()
def card(ctx: typer.Context, ref: Ref) -> None:
    """The model card as Markdown."""
    term = terminal(ctx)
    model_card = Models(term.http).card(ref)
    if term.as_json:
        term.show(model_card)
    else:
        term.out.print(model_card.markdown, markup=False, highlight=False, soft_wrap=True)


@app.command()
def delete(ctx: typer.Context, ref: Ref, yes: YesOption = False) -> None:
    """Forget a version that nothing refers to. It asks first; --yes does not."""
    term = terminal(ctx)
    version = Models(term.http).get(ref)
    term.confirm(f"Forget {version.ref} ({version.format}, {size(version.size)})?", yes=yes)
    Models(term.http).delete(version.id)
    term.print(f"{version.ref} is gone.")
