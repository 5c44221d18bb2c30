"""The commands of `tidemill data`."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import ValidationError
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from tidemill.core.errors import BadRequest
from tidemill.core.parsing import parse_yaml
from tidemill.core.terminal import Column, CursorOption, LimitOption, Terminal, size, terminal
from tidemill.core.value_faults import sentence_of
from tidemill.data.sdk import Data, ExportFormat
from tidemill.data.types import DatasetVersion, FileFormat, Recipe, RecipeInvalid, RowSchema, SplitInfo
from tidemill.jobs.cli import describe, interruptible
from tidemill.jobs.types import Job

app = typer.Typer(help="Datasets: import, versions, catalogue.", no_args_is_help=True)
catalogue = typer.Typer(help="Who answers for a dataset, and its terms.", no_args_is_help=True)
app.add_typer(catalogue, name="catalogue")

Ref = Annotated[str, typer.Argument(help="name (newest), name@3 or an id.")]
NameArgument = Annotated[str, typer.Argument(help="The dataset's name.")]
SplitOption = Annotated[str | None, typer.Option("--split", help="Which split; the first when left out.")]


def _pairs(values: list[str] | None, option: str) -> dict[str, str]:
    pairs = {}
    for value in values or []:
        name, sign, rest = value.partition("=")
        if not sign or not name:
            raise BadRequest(f"{option} {value!r} has no `=`.", hint=f"Write {option} name=value.")
        pairs[name.strip()] = rest.strip()
    return pairs


def _ratios(text: str) -> dict[str, float]:
    try:
        return {name: float(ratio) for name, ratio in _pairs(text.split(","), "--split").items()}
    except ValueError as error:
        raise BadRequest(f"--split {text!r} holds something that is not a number.", hint=_SPLIT_HINT) from error


_LARGE_SHARE = 0.2
_SPLIT_HINT = "Write --split train=0.8,validation=0.1,test=0.1; the ratios add up to 1."


def _recipe(path: Path | None) -> Recipe | None:
    if path is None:
        return None
    import yaml  # noqa: PLC0415 - only for this option; JSON is YAML too

    try:
        read = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeInvalid(f"{path} cannot be read: {error}.", hint="A recipe is YAML or JSON.") from error
    try:
        return Recipe.model_validate({"steps": read} if isinstance(read, list) else read)
    except ValidationError as error:
        raise RecipeInvalid(f"{path}: {sentence_of(error)}", hint="See `steps` in the guide to data.") from error


@app.command("import")
def import_(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(help="A file, or a folder of files.")],
    name: Annotated[str | None, typer.Option(help="Name of the dataset. Default: the file's name.")] = None,
    kind: Annotated[FileFormat | None, typer.Option("--format", help="Default: by name, then by content.")] = None,
    schema: Annotated[RowSchema | None, typer.Option(help="Default: what the columns suggest.")] = None,
    map_: Annotated[
        list[str] | None, typer.Option("--map", help="field=column, or field='a template with {{column}}'.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="old=new: store another label.")] = None,
    labels: Annotated[str | None, typer.Option(help="The only labels allowed: a,b,c.")] = None,
    pattern: Annotated[str | None, typer.Option(help="For lines: (?P<label>[A-Z]+):(?P<text>.+)")] = None,
    encoding: Annotated[str, typer.Option(help="Text encoding of the files.")] = "utf-8",
    delimiter: Annotated[str | None, typer.Option(help="For CSV. Default: guessed from the header.")] = None,
    missing: Annotated[
        Literal["error", "drop"], typer.Option(help="What to do with rows that lack a value.")
    ] = "error",
    recipe: Annotated[Path | None, typer.Option(help="Cleaning steps as YAML or JSON.")] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="train=0.8,validation=0.1,test=0.1; or one at a time.")
    ] = None,
    split_by: Annotated[
        Literal["cluster", "time"], typer.Option(help="Whole clusters by seed, or by time.")
    ] = "cluster",
    boundary: Annotated[list[str] | None, typer.Option(help="For time: first moment of the next split.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    allow_empty_classes: Annotated[bool, typer.Option(help="Accept a split without rows of some class.")] = False,
    templates: Annotated[
        bool, typer.Option(help="Keep rows together that differ in numbers, hosts and times only.")
    ] = False,
    owner: Annotated[str | None, typer.Option()] = None,
    licence: Annotated[str | None, typer.Option()] = None,
    purpose: Annotated[str | None, typer.Option()] = None,
    wait: Annotated[bool, typer.Option(help="Wait until the version is made.")] = True,
) -> None:
    """Import, clean and divide data into a new version."""
    term = terminal(ctx)
    options: dict[str, Any] = {
        "name": name or _name_of(path),
        "row_schema": schema,
        "read": {"format": kind, "encoding": encoding, "delimiter": delimiter, "pattern": pattern},
        "mapping": {
            "fields": _pairs(map_, "--map"),
            "label_values": _pairs(label, "--label"),
            "labels": [word.strip() for word in labels.split(",")] if labels else None,
            "missing": missing,
        },
        "recipe": _recipe(recipe),
        "split": _split(",".join(split or []), split_by, boundary, seed, allow_empty_classes, templates),
        "catalogue": {k: v for k, v in (("owner", owner), ("licence", licence), ("purpose", purpose)) if v is not None},
    }
    try:
        _run(term, path, options, wait)
    except ValidationError as error:
        raise BadRequest(
            f"The options do not fit: {sentence_of(error)}.", hint="`tidemill data import --help`"
        ) from error


def _split(
    ratios: str, by: str, boundaries: list[str] | None, seed: int, allow_empty: bool, templates: bool
) -> dict[str, Any] | None:
    if not ratios:
        return None
    return {
        "ratios": _ratios(ratios),
        "by": by,
        "boundaries": boundaries,
        "seed": seed,
        "allow_empty_classes": allow_empty,
        "templates": templates,
    }


def _name_of(path: Path) -> str:
    stem = path.name.split(".")[0].lower()
    return "".join(char if char.isascii() and (char.isalnum() or char in "_-") else "-" for char in stem).strip("-")


def _run(term: Terminal, path: Path, options: dict[str, Any], wait: bool) -> None:
    if not wait:
        started = Data(term.http).submit(path, **options)
        term.show(started.job or started.version)  # type: ignore[arg-type]
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    bar = Progress(*columns, console=term.err, transient=True)
    data = Data(term.working_http)
    with interruptible(term) as remember, bar:
        task = bar.add_task("uploading")

        def watch(job: Job) -> None:
            remember(job)
            if job.progress is not None:
                rows = job.progress.figures.get("rows", 0)
                bar.update(task, description=f"{job.progress.message}: {rows:,} rows read")
            elif job.queued_behind:
                bar.update(task, description=describe(job))

        version = data.import_(path, watch=watch, **options)
    if term.as_json:
        term.show(version)
    else:
        _print_version(term, version)


def _print_version(term: Terminal, version: DatasetVersion) -> None:
    term.print(Text(version.ref, style="bold") + Text(f"  {version.row_schema}  {version.content_hash[:19]}"))
    steps = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("step", "rows in", "dropped", "changed", "found"):
        steps.add_column(heading, justify="left" if heading in ("step", "found") else "right")
    for step in version.steps:
        figures = ", ".join(f"{name} {count}" for name, count in step.figures.items())
        steps.add_row(step.step, f"{step.rows_in:,}", f"{step.dropped:,}", f"{step.changed:,}", figures)
    term.print(steps, "")
    _warn_of_losses(term, version)
    term.print("Splits: " + ", ".join(f"{split.name} {split.rows:,}" for split in version.splits))
    for leak in version.leaks.uncleaned:
        if leak.exact:
            term.print(
                f"Uncleaned, {leak.exact:,} of {leak.rows:,} {leak.split} rows ({leak.share:.0%}) "
                f"would also stand in {leak.against}. Now: none."
            )
    for leak in version.leaks.found:
        if leak.twins:
            at_least = "" if version.leaks.twins_complete else "at least "
            term.print(
                f"{at_least}{leak.twins:,} of {leak.rows:,} {leak.split} rows ({leak.twins / leak.rows:.0%}) resemble "
                f"a {leak.against} row but for numbers, names or a few words. --templates keeps such rows together."
            )
            term.print(Text("  " + " ~ ".join(dict.fromkeys(leak.twin_example)), style="dim"))


def _warn_of_losses(term: Terminal, version: DatasetVersion) -> None:
    """Print what a reader of the table may miss: a step that dropped much, answers that were lost, empty classes."""
    for step in version.steps:
        lost = sum(step.figures.get(name, 0) for name in ("other_label", "other_answer"))
        if step.step == "classes":
            term.print(f"No row is left of {step.figures['emptied']} class(es):")
        elif step.dropped > _LARGE_SHARE * step.rows_in or lost:
            other = f", {lost:,} of them with another answer than the row that stays" if lost else ""
            share = step.dropped / step.rows_in
            term.print(f"{step.step} dropped {step.dropped:,} of {step.rows_in:,} rows ({share:.0%}){other}:")
        else:
            continue
        for example in step.examples[:2]:
            term.print(Text(f"  {example.source}  {example.reason}: {example.before}", style="dim"))


@app.command("list")
def list_(ctx: typer.Context, cursor: CursorOption = None, limit: LimitOption = 50) -> None:
    """List datasets by name."""
    term = terminal(ctx)
    columns: list[Column] = [
        ("name", "name"),
        ("schema", "row_schema"),
        ("versions", "latest"),
        ("owner", lambda d: d.catalogue.owner),
        ("licence", lambda d: d.catalogue.licence),
        ("created", "created_at"),
    ]
    empty = "No datasets yet. Import one: tidemill data import FILE"
    term.table(Data(term.http).list(cursor=cursor, limit=limit), columns, empty=empty)


@app.command()
def show(ctx: typer.Context, ref: Ref) -> None:
    """One version: its steps, splits and terms."""
    term = terminal(ctx)
    data = Data(term.http)
    version = data.version(ref)
    if term.as_json:
        term.show(version)
        return
    _print_version(term, version)
    term.print("")
    term.show(data.get(version.dataset).catalogue)
    for step in version.steps:
        for example in step.examples:
            after = " -> dropped" if example.after is None else f" -> {example.after}"
            term.print(Text(f"  {step.step}  {example.source}  {example.reason}: {example.before}{after}", style="dim"))


def _split_sizes(splits: list[SplitInfo]) -> str:
    return ", ".join(f"{split.name} {split.rows:,} ({size(split.bytes)})" for split in splits)


@app.command()
def versions(ctx: typer.Context, name: NameArgument, cursor: CursorOption = None, limit: LimitOption = 50) -> None:
    """The versions of a dataset, newest first."""
    term = terminal(ctx)
    columns: list[Column] = [
        ("version", lambda v: f"{v.dataset}@{v.version}"),
        ("splits", lambda v: _split_sizes(v.splits)),
        ("content", lambda v: v.content_hash[:19]),
        ("by", "created_by"),
        ("at", "created_at"),
    ]
    term.table(Data(term.http).versions(name, cursor=cursor, limit=limit), columns, empty="No versions.")


@app.command()
def preview(
    ctx: typer.Context,
    ref: Ref,
    split: SplitOption = None,
    offset: Annotated[int, typer.Option(min=0)] = 0,
    limit: LimitOption = 10,
) -> None:
    """Show some rows of a split."""
    term = terminal(ctx)
    page = Data(term.http).preview(ref, split=split, offset=offset, limit=limit)
    if term.as_json:
        term.show(page)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    names = [name for name in (page.rows[0] if page.rows else {}) if name not in ("split", "cluster_id")]
    for name in names:
        table.add_column(name, overflow="fold")
    for row in page.rows:
        table.add_row(*(Text(v if isinstance(v := row[n], str) else json.dumps(v, ensure_ascii=False)) for n in names))
    term.print(table)
    last = offset + len(page.rows)
    term.print(Text(f"{page.split}: rows {offset + 1} to {last} of {page.total}", style="dim"))


@app.command()
def diff(ctx: typer.Context, before: Ref, after: Ref) -> None:
    """What changed from one version to another."""
    term = terminal(ctx)
    difference = Data(term.http).diff(before, after)
    columns: list[Column] = [
        (name, name) for name in ("added", "removed", "changed", "moved", "unchanged", "label_distance")
    ]
    term.show(difference, columns)
    if not term.as_json and difference.labels:
        shifts: list[Column] = [
            ("label", "label"),
            ("before", "rows_before"),
            ("after", "rows_after"),
            ("share before", "share_before"),
            ("share after", "share_after"),
        ]
        term.table(difference.labels, shifts, empty="")


@app.command()
def stats(ctx: typer.Context, ref: Ref) -> None:
    """Lengths, labels and languages."""
    term = terminal(ctx)
    term.show(Data(term.http).version(ref).statistics)


@app.command()
def export(
    ctx: typer.Context,
    ref: Ref,
    into: Annotated[Path, typer.Argument(help="Folder to write to.")],
    kind: Annotated[ExportFormat, typer.Option("--format")] = "parquet",
) -> None:
    """Write one file per split."""
    term = terminal(ctx)
    term.paths(Data(term.http).export(ref, into, kind=kind))


@catalogue.command("set")
def set_(
    ctx: typer.Context,
    name: NameArgument,
    description: Annotated[str | None, typer.Option()] = None,
    owner: Annotated[str | None, typer.Option(help="Person or team that answers for the data.")] = None,
    licence: Annotated[str | None, typer.Option(help="SPDX identifier or the name of the terms.")] = None,
    purpose: Annotated[str | None, typer.Option(help="What the data may be used for.")] = None,
    retention_days: Annotated[int | None, typer.Option(min=1, help="Days to keep a version.")] = None,
) -> None:
    """Change the owner, licence and other catalogue fields."""
    term = terminal(ctx)
    options = {
        "description": description,
        "owner": owner,
        "licence": licence,
        "purpose": purpose,
        "retention_days": retention_days,
    }
    fields = {key: value for key, value in options.items() if value is not None}
    if not fields:
        raise BadRequest("No field was given.", hint="Give --owner, --licence, --purpose, --retention-days, ...")
    term.show(Data(term.http).set_catalogue(name, **fields).catalogue)
