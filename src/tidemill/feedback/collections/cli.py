"""`tidemill traces to-dataset` and `tidemill traces collections`."""

from typing import Annotated, Any

import typer
from rich.text import Text

from tidemill.core.errors import BadRequest
from tidemill.core.terminal import Column, CursorOption, LimitOption, Terminal, terminal
from tidemill.core.times import TIME_FORMS, parse_time_option
from tidemill.feedback.collections.sdk import Curation
from tidemill.feedback.types.collections import Collection

_REASONS = {
    "over_cap": "one user's rows beyond the cap",
    "disputed": "end users correct it differently",
    "disliked": "turned down, and nobody said what is right",
    "not_wanted": "without the feedback that was asked for",
    "failed": "the call failed",
    "no_input": "no question was recorded",
    "no_answer": "no answer was recorded",
    "no_label": "no label can be read from the answer",
    "erased": "their user was erased",
}

_COLUMNS: list[Column] = [
    ("id", "id"),
    ("dataset", "dataset"),
    ("rows", "rows"),
    ("quarantined", lambda c: sum(c.quarantined.values())),
    ("version", "version_id"),
    ("made", "created_at"),
    ("by", "created_by"),
]


def to_dataset(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Argument(help="Name of the dataset that gets a new version.")],
    schema: Annotated[str, typer.Option(help="chat, completion, classification, text or eval.")],
    trace: Annotated[list[str] | None, typer.Option(help="A trace id. May be repeated.")] = None,
    response: Annotated[list[str] | None, typer.Option(help="A response id. May be repeated.")] = None,
    since: Annotated[str, typer.Option(help=f"Answers from then on: {TIME_FORMS}.")] = "7d",
    until: Annotated[str | None, typer.Option(help="Answers before then.")] = None,
    release: Annotated[str | None, typer.Option(help="Only answers of this release: name@3 or an id.")] = None,
    environment: Annotated[str | None, typer.Option("--env", help="Only answers of this environment.")] = None,
    only: Annotated[str, typer.Option(help="all, judged, liked or corrected.")] = "all",
    use_correction: Annotated[bool, typer.Option(help="Take corrections as the answers.")] = True,
    label_field: Annotated[str | None, typer.Option(help="The JSON field that holds the label.")] = None,
    cap_per_user: Annotated[int | None, typer.Option(min=1, help="Rows of one user at most.")] = None,
    limit: Annotated[
        int, typer.Option("--most", help="Without --trace or --response: so many answers at most.")
    ] = 1000,
    split: Annotated[str | None, typer.Option(help="Name of the split. Default: train; test for eval.")] = None,
    append: Annotated[bool, typer.Option(help="Keep the rows of the newest version behind the new ones.")] = True,
    wait: Annotated[bool, typer.Option(help="Wait for the dataset version.")] = True,
) -> None:
    """Make a dataset version of answers, with people's corrections."""
    term = terminal(ctx)
    shared = {"until": parse_time_option(until), "release_id": release, "environment": environment}
    filters = {name: value for name, value in shared.items() if value is not None}
    if (trace or response) and filters:
        raise BadRequest("Answers were named, and a filter given.", hint="Give one of the two.")
    choice: dict[str, Any] = {"traces": trace or None, "response_ids": response or None}
    if not trace and not response:
        choice["filter"] = filters | {"since": parse_time_option(since)}
    choice |= {"only": only, "use_correction": use_correction, "label_field": label_field, "append": append}
    choice |= {"cap_per_user": cap_per_user, "limit": limit, "split": split}
    sdk = Curation(term.working_http if wait else term.http)
    collection = sdk.to_dataset(dataset, schema, wait=wait, **choice)  # type: ignore[arg-type]
    if term.as_json:
        term.show(collection)
        return
    _print_collection(term, collection)
    if wait:
        version = sdk.version(collection)
        for step in version.steps:
            if step.dropped:
                term.print(f"  {step.dropped:,} dropped by the recipe: {step.step}")
        rows = ", ".join(f"{info.name} {info.rows:,}" for info in version.splits)
        term.print(Text(f"{version.ref}: {rows} rows", style="bold green"), f"  tidemill lineage {version.id}")


def _print_collection(term: Terminal, collection: Collection) -> None:
    count_text = f"{collection.rows:,} answers became rows of {collection.dataset}. "
    term.print(Text.assemble(count_text, (collection.id, "dim")))
    for reason, count in sorted(collection.quarantined.items(), key=lambda entry: -entry[1]):
        term.print(Text(f"  {count:,} in quarantine: {_REASONS[reason]} ({reason})", style="yellow"))


def collections(
    ctx: typer.Context,
    collection: Annotated[str | None, typer.Argument(help="Show the answers of this one, tcol_...")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only those of this dataset.")] = None,
    trace: Annotated[str | None, typer.Option(help="Only those with an answer of this trace.")] = None,
    quarantined: Annotated[
        bool | None, typer.Option("--quarantined/--rows", help="Only what was kept apart, or only rows.")
    ] = None,
    cursor: CursorOption = None,
    limit: LimitOption = 50,
) -> None:
    """List collections of answers, newest first; or the answers of one collection."""
    term = terminal(ctx)
    sdk = Curation(term.http)
    if collection is None:
        page = sdk.list(dataset=dataset, trace_id=trace, cursor=cursor, limit=limit)
        empty = "No collections yet. Make one: tidemill traces to-dataset my-data --schema chat"
        term.table(page, _COLUMNS, empty=empty)
        return
    columns: list[Column] = [
        ("answer", lambda i: i.response_id or i.trace_id),
        ("user", "user"),
        ("line", "row"),
        ("corrected", "corrected"),
        ("quarantine", lambda i: Text(i.reason, style="yellow") if i.reason else None),
    ]
    term.table(sdk.items(collection, quarantined=quarantined, cursor=cursor, limit=limit), columns, empty="Nothing.")
