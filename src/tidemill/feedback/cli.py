"""`tidemill feedback`, `tidemill scores` and `tidemill traces show`."""

import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.rule import Rule
from rich.text import Text

from tidemill.core.errors import BadRequest
from tidemill.core.http import Http
from tidemill.core.parsing import parse_json
from tidemill.core.terminal import Column, CursorOption, LimitOption, Terminal, terminal
from tidemill.core.times import parse_time_option
from tidemill.feedback.rendering import render_score
from tidemill.feedback.sdk import Scores
from tidemill.feedback.types.scores import MAX_BULK_ITEMS, BulkItem, BulkReply, ScorePoint
from tidemill.traces.cli import find_span, print_span
from tidemill.traces.sdk import Traces
from tidemill.traces.types import SpanDetail

app = typer.Typer(help="What code, models and people say about answers.", no_args_is_help=True)

NameOption = Annotated[str | None, typer.Option(help="Only scores of this name.")]
ReleaseOption = Annotated[str | None, typer.Option("--release", help="Only answers of this release: name@3 or an id.")]
EnvironmentOption = Annotated[str | None, typer.Option("--env", help="Only answers of this environment.")]
SourceOption = Annotated[str | None, typer.Option(help="Only from code, model or person.")]
SinceOption = Annotated[str | None, typer.Option(help="Only answers from then on: 30m, 6h, 7d, or 2026-11-21T14:00Z.")]
UntilOption = Annotated[str | None, typer.Option(help="Only answers before then.")]

_TRACE = re.compile(r"[0-9a-f]{32}")
_TRACE_PREFIX = re.compile(r"[0-9a-f]{6,31}")


def _parse_target(http: Http, target: str) -> dict[str, str]:
    trace, _, span = target.partition(":")
    if _TRACE_PREFIX.fullmatch(trace):
        trace = Traces(http).get(trace, limit=1).summary.trace_id
    if not _TRACE.fullmatch(trace):
        return {"response_id": target}
    return {"trace_id": trace} | ({"span_id": span} if span else {})


_COLUMNS: list[Column] = [
    ("name", "name"),
    ("value", render_score),
    ("source", "source"),
    ("by", "author"),
    ("answer", lambda s: s.response_id or f"{s.trace_id[:12]}…"),
    ("release", "release_id"),
    ("env", "environment"),
    ("given", "at"),
]


def feedback(
    ctx: typer.Context,
    target: Annotated[str | None, typer.Argument(help="A response id (chatcmpl-…), a trace id, or trace:span.")] = None,
    thumbs: Annotated[bool | None, typer.Option("--up/--down", help="Thumbs up, or down.")] = None,
    score: Annotated[float | None, typer.Option(help="A number instead of thumbs.")] = None,
    label: Annotated[str | None, typer.Option(help="A word, such as off-topic.")] = None,
    correction: Annotated[str | None, typer.Option(help="What the answer should have been: text, or JSON.")] = None,
    comment: Annotated[str | None, typer.Option(help="In your own words.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the score. Default: feedback.")] = None,
    user: Annotated[str | None, typer.Option(help="The end user who says so. Default: you.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="Many at once: JSON lines, each as the API takes them; - for standard input.")
    ] = None,
) -> None:
    """Give feedback on an answer."""
    term = terminal(ctx)
    if file is not None:
        if target is not None:
            raise BadRequest("A target and --file were given.", hint="Give one of the two.")
        _print_bulk(ctx, Scores(term.http).feedback_bulk(_read_items(file)))
        return
    if target is None:
        raise BadRequest("Which answer?", hint="Give its response id or trace id, or many with --file.")
    fields: dict[str, Any] = {
        "thumbs": None if thumbs is None else ("up" if thumbs else "down"),
        "score": score,
        "label": label,
        "correction": _parse_correction(correction),
        "comment": comment,
        "name": name,
        "user": user,
    }
    fields = {name: value for name, value in fields.items() if value is not None}
    stored = Scores(term.http).feedback(**_parse_target(term.http, target), **fields)
    term.show(stored, [*_COLUMNS, ("id", "id")])


def _parse_correction(text: str | None) -> Any:
    """Return a JSON object or list parsed, anything else as text."""
    if text is None or not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return parse_json(text)
    except json.JSONDecodeError:
        return text


def _read_items(file: Path) -> list[dict[str, Any]]:
    text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    items = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            item = parse_json(line)
        except json.JSONDecodeError as error:
            raise BadRequest(f"{file}:{number} is not JSON: {error.msg}.", hint="One JSON object a line.") from error
        if not isinstance(item, dict):
            raise BadRequest(f"{file}:{number} is no JSON object.", hint="One JSON object a line.")
        items.append(item)
    if not 1 <= len(items) <= MAX_BULK_ITEMS:
        raise BadRequest(f"{file} has {len(items):,} items.", hint=f"Send between 1 and {MAX_BULK_ITEMS:,} at once.")
    return items


def _print_bulk(ctx: typer.Context, reply: BulkReply) -> None:
    term = terminal(ctx)
    if term.as_json:
        term.show(reply)
    else:
        term.print(f"{reply.kept:,} kept, {reply.refused:,} refused.")
        wrong = [(place, item) for place, item in enumerate(reply.items, 1) if item.error is not None]
        for place, item in wrong[:20]:
            term.print(Text(f"  item {place}: {_error_text(item)}", style="red"))
    if reply.refused:
        raise typer.Exit(1)


def _error_text(item: BulkItem) -> str:
    return f"{item.error.message} [{item.error.code}]" if item.error is not None else ""


@app.command("list")
def list_scores(
    ctx: typer.Context,
    target: Annotated[str | None, typer.Argument(help="Only of this answer: a response id or a trace id.")] = None,
    name: NameOption = None,
    release: ReleaseOption = None,
    environment: EnvironmentOption = None,
    source: SourceOption = None,
    corrected: Annotated[bool | None, typer.Option("--corrected/--uncorrected", help="With a correction.")] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    cursor: CursorOption = None,
    limit: LimitOption = 50,
) -> None:
    """List scores, newest first."""
    term = terminal(ctx)
    fields: dict[str, Any] = {
        "name": name,
        "release_id": release,
        "environment": environment,
        "source": source,
        "corrected": corrected,
        "since": parse_time_option(since),
        "until": parse_time_option(until),
    }
    if target is not None:
        fields |= {k: v for k, v in _parse_target(term.http, target).items() if k != "span_id"}
    page = Scores(term.http).list(cursor=cursor, limit=limit, **fields)
    names = {} if term.as_json else term.http.release_names(score.release_id for score in page.items)
    columns: list[Column] = [
        (heading, (lambda s: names.get(s.release_id, s.release_id)) if heading == "release" else source_of)
        for heading, source_of in _COLUMNS
    ]
    term.table(page, columns, empty="No scores yet. Give one: tidemill feedback chatcmpl-… --up")


@app.command()
def series(
    ctx: typer.Context,
    name: NameOption = None,
    by: Annotated[str, typer.Option(help="release, environment, deployment, model, source or none.")] = "release",
    release: ReleaseOption = None,
    environment: EnvironmentOption = None,
    source: SourceOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    bucket: Annotated[int, typer.Option(min=60, help="Seconds that are put together.")] = 3600,
) -> None:
    """Show scores over time: how many, and their mean."""
    term = terminal(ctx)
    fields = {
        "name": name,
        "release_id": release,
        "environment": environment,
        "source": source,
        "since": parse_time_option(since),
        "until": parse_time_option(until),
    }
    series = Scores(term.http).series(by=by, bucket_seconds=bucket, **fields)  # type: ignore[arg-type]
    if term.as_json:
        term.show(series)
        return
    names = term.http.release_names(point.key for point in series.points) if by == "release" else {}
    columns: list[Column] = [
        ("from", "t"),
        (by, lambda point: names.get(point.key, point.key)),
        ("name", "name"),
        ("scores", "count"),
        ("mean", "mean"),
        ("", _mean_bar),
        ("labels", "labels"),
    ]
    term.table(series.points, columns, empty="No scores in this time.")


def _mean_bar(point: ScorePoint) -> Text:
    if point.mean is None or not 0 <= point.mean <= 1:
        return Text("")
    style = "green" if point.mean >= 0.8 else "yellow" if point.mean >= 0.5 else "red"
    return Text("█" * round(point.mean * 20), style=style)


@app.command()
def delete(ctx: typer.Context, score: Annotated[str, typer.Argument(help="The score's id, sc_...")]) -> None:
    """Delete a score."""
    term = terminal(ctx)
    Scores(term.http).delete(score)
    term.print(f"{score} is taken back.")


def show(
    ctx: typer.Context,
    trace: Annotated[str, typer.Argument(help="A trace id, its first digits, or a reply's id such as chatcmpl-….")],
    span: Annotated[
        str | None, typer.Option(help="Id of a span, or its first digits. Default: the first call.")
    ] = None,
    full: Annotated[bool, typer.Option("--whole", help="With all attributes and long texts.")] = False,
) -> None:
    """Show one span with input and output: the first model call of a trace, or the one of --span."""
    term = terminal(ctx)
    span_detail = find_span(Traces(term.http), trace, span)
    if term.as_json:
        term.show(span_detail)
        return
    print_span(term, span_detail, full=full)
    _print_scores(term, span_detail)


def _print_scores(term: Terminal, span: SpanDetail) -> None:
    trace_scores = Scores(term.http).list(trace_id=span.trace_id, limit=50).items
    fitting = [score for score in trace_scores if score.span_id in (None, span.span_id)]
    if fitting:
        term.out.print(Rule("scores", align="left", style="dim"))
    for score in fitting:
        line = Text(f"{score.name}  ", style="bold")
        line.append_text(render_score(score)).append(f"  {score.source} {score.author}", style="dim not bold")
        term.out.print(line)
