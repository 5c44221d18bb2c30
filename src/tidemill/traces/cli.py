"""`tidemill traces`."""

import json
from datetime import UTC, date, datetime
from typing import Annotated, Any

import typer
from rich.cells import cell_len
from rich.rule import Rule
from rich.text import Text

from tidemill.core.errors import BadRequest
from tidemill.core.search_words import find_words
from tidemill.core.terminal import Column, CursorOption, LimitOption, Terminal, size, terminal
from tidemill.core.times import TIME_FORMS, parse_time_option
from tidemill.traces.rendering import (
    extract_text,
    format_cost,
    format_duration,
    format_time,
    format_tokens,
    format_value,
    kind_label,
    render_bar,
    render_waterfall,
)
from tidemill.traces.sdk import Traces
from tidemill.traces.types import SpanDetail, TraceSummary

app = typer.Typer(help="Traces: spans of every call.", no_args_is_help=True)

TraceArgument = Annotated[str, typer.Argument(help="A trace id, or the first digits of one.")]
SinceOption = Annotated[str | None, typer.Option(help=f"From then on: {TIME_FORMS}.")]
ModelOption = Annotated[str | None, typer.Option(help="Only with this model.")]
ReleaseOption = Annotated[
    str | None, typer.Option("--release", help="Only answered by this release: name, name@3 or an id.")
]
UserOption = Annotated[str | None, typer.Option(help="Only of this user.")]
SessionOption = Annotated[str | None, typer.Option(help="Only of this session.")]
StatusOption = Annotated[str | None, typer.Option(help="ok, error or unset.")]


@app.command("list")
def list_traces(
    ctx: typer.Context,
    text: Annotated[str | None, typer.Option(help="Only those with all of these words.")] = None,
    model: ModelOption = None,
    release: ReleaseOption = None,
    environment: Annotated[str | None, typer.Option("--env", help="Only of this environment.")] = None,
    user: UserOption = None,
    session: SessionOption = None,
    status: StatusOption = None,
    slower_than: Annotated[float | None, typer.Option(min=0, help="Only with a span slower than so many ms.")] = None,
    since: SinceOption = None,
    cursor: CursorOption = None,
    limit: LimitOption = 20,
) -> None:
    """List traces, newest first."""
    term = terminal(ctx)
    release_id = term.http.release_id(release)
    page = Traces(term.http).list(
        text=text, model=model, release_id=release_id, environment=environment, user=user, session=session,
        status=status, min_ms=slower_than, since=parse_time_option(since), cursor=cursor, limit=limit,
    )  # fmt: skip
    if term.as_json or not page.items:
        term.table(page, [], empty="No traces. Send some by OTLP to /v1/traces, or ask a model: tidemill ask …")
        return
    headings = ["trace", "at", "took", "spans", "tokens", "cost", "what"]
    term.rows(headings, [_trace_row(value) for value in page.items])
    term.more(page)


def _trace_row(value: TraceSummary) -> list[Text]:
    failed = value.errors > 0
    spans = Text(str(value.spans))
    if failed:
        spans.append(f" {value.errors}✗", style="red")
    name = Text(value.name, style="red" if failed else "bold")
    if not value.complete:
        name.append(" …", style="dim")
    if value.input:
        name.append(f"  {value.input}", style="dim")
    elif value.model and value.model not in value.name:
        name.append(f"  {value.model}", style="cyan")
    return [
        Text(value.trace_id[:10], style="cyan"),
        Text(format_time(value.start)),
        Text(format_duration(value.duration_ms)),
        spans,
        Text(format_tokens(value.input_tokens, value.output_tokens)),
        Text(format_cost(value.cost_usd)),
        name,
    ]


@app.command()
def tree(ctx: typer.Context, trace: TraceArgument) -> None:
    """Show the spans of a trace as a tree, with when each ran."""
    term = terminal(ctx)
    trace_tree = Traces(term.http).get(trace)
    if term.as_json:
        term.show(trace_tree)
        return
    _print_head(term, trace_tree.summary)
    term.rows(["span", "kind", "", "took", "tokens", "cost"], render_waterfall(trace_tree))
    if trace_tree.left_out:
        term.out.print(Text(f"{trace_tree.left_out} more spans are not shown.", style="dim"))
    term.out.print(
        Text(f"One span whole: tidemill traces show {trace_tree.summary.trace_id[:10]} --span ID", style="dim")
    )


def _print_head(term: Terminal, value: TraceSummary) -> None:
    line = Text(value.name, style="bold red" if value.errors else "bold")
    line.append(
        f"  {value.start.astimezone():%Y-%m-%d %H:%M:%S}  {format_duration(value.duration_ms)}", style="not bold"
    )
    line.append(f"  {value.spans} span{'' if value.spans == 1 else 's'}", style="not bold")
    if value.cost_usd is not None:
        line.append(f"  {format_cost(value.cost_usd)}", style="not bold")
    term.out.print(line)
    names = {"trace": value.trace_id, "service": value.service, "release": value.release_id,
             "environment": value.environment, "user": value.user, "session": value.session}  # fmt: skip
    lines = [""]
    for detail in (f"{name} {text}" for name, text in names.items() if text):
        joined = f"{lines[-1]}  {detail}" if lines[-1] else detail
        if cell_len(joined) <= term.out.width:
            lines[-1] = joined
        else:
            lines.append(detail)
    details = "\n".join(lines)
    term.out.print(Text(details, style="dim"))


def find_span(traces: Traces, trace: str, span: str | None) -> SpanDetail:
    """Return the span of a response id, or one of a trace: by its id's first digits, or else the first model call.

    Raises BadRequest when the trace has no such span.
    """
    return traces.response(trace) if "-" in trace else _choose_span(traces, trace, span)


def print_span(term: Terminal, span: SpanDetail, *, full: bool) -> None:
    """Print a span with input and output; `full` prints all attributes and long texts too."""
    _print_facts(term, span)
    max_chars = None if full else 2000
    for title, value in (("input", span.input), ("output", span.output)):
        _print_content(term, title, value, max_chars)
    if span.status_message:
        term.out.print(Text(span.status_message, style="red"))
    for event in span.events:
        term.out.print(Text(f"event {event.name} {format_value(event.attributes, max_chars)}", style="dim"))
    if full:
        for name, attribute in (*span.attributes.items(), *span.resource.items()):
            term.out.print(Text(f"{name} = {format_value(attribute, max_chars)}", style="dim"))
    for note in span.truncated:
        term.out.print(Text(f"cut: {note}", style="yellow"))


def _choose_span(traces: Traces, trace: str, span: str | None) -> SpanDetail:
    spans = [node.span for node in traces.get(trace).nodes]
    if span is not None:
        fitting = [s for s in spans if s.span_id.startswith(span.lower())]
        if not fitting:
            raise BadRequest(f"The trace has no span {span}.", hint=f"`tidemill traces tree {trace}` lists them.")
    else:
        fitting = [s for s in spans if s.kind == "llm"] or spans
    return traces.span(fitting[0].trace_id, fitting[0].span_id)


def _print_facts(term: Terminal, span: SpanDetail) -> None:
    head = Text(span.name, style="bold red" if span.status == "error" else "bold")
    head.append(f"  {kind_label(span.kind)}  {format_duration(span.duration_ms)}", style="not bold")
    if span.ttft_ms is not None:
        head.append(f"  first token {format_duration(span.ttft_ms)}", style="not bold")
    if span.input_tokens is not None or span.output_tokens is not None:
        head.append(f"  {format_tokens(span.input_tokens or 0, span.output_tokens or 0)} tokens", style="not bold")
    if span.cost_usd is not None:
        head.append(f"  {format_cost(span.cost_usd)}", style="not bold")
    term.out.print(head)
    names = ("trace_id", "span_id", "response_id", "model", "provider", "service", "release_id", "environment",
             "prompt", "user", "session", "finish_reason", "dialect")  # fmt: skip
    details = "  ".join(f"{name.removesuffix('_id')} {getattr(span, name)}" for name in names if getattr(span, name))
    term.out.print(Text(details, style="dim"))


def _print_content(term: Terminal, title: str, value: Any, max_chars: int | None) -> None:
    if value is None:
        return
    term.out.print(Rule(title, align="left", style="dim"))
    if not isinstance(value, list) or not all(isinstance(item, dict) and "role" in item for item in value):
        term.out.print(Text(format_value(value, max_chars)))
        return
    for message in value:
        rest = {name: part for name, part in message.items() if name not in ("role", "content")}
        line = Text(f"{message['role']}: ", style="bold cyan")
        line.append(
            format_value(message.get("content"), max_chars) if message.get("content") is not None else "",
            style="default",
        )
        if rest:
            line.append(f" {json.dumps(rest, ensure_ascii=False, default=str)[:max_chars]}", style="dim")
        term.out.print(line)


@app.command()
def search(
    ctx: typer.Context,
    words: Annotated[list[str], typer.Argument(help="Words that all must be there.")],
    model: ModelOption = None,
    release: ReleaseOption = None,
    status: StatusOption = None,
    since: SinceOption = None,
    cursor: CursorOption = None,
    limit: LimitOption = 20,
) -> None:
    """Search spans with all these words in input, output, name or error, the latest first."""
    term = terminal(ctx)
    release_id = term.http.release_id(release)
    page = Traces(term.http).search(
        " ".join(words), model=model, release_id=release_id, status=status, since=parse_time_option(since),
        cursor=cursor, limit=limit,
    )  # fmt: skip
    if term.as_json or not page.items:
        term.table(page, [], empty="No span has all these words.")
        return
    rows = [
        [Text(s.trace_id[:10], style="cyan"), Text(format_time(s.start)), Text(s.model or s.name), _excerpt(s, words)]
        for s in page.items
    ]
    term.rows(["trace", "at", "model", "found in"], rows)
    term.more(page)


def _excerpt(span: SpanDetail, words: list[str]) -> Text:
    for value in (span.output, span.input, span.status_message, span.name):
        text = " ".join(extract_text(value).split())
        matches = find_words(text, " ".join(words))
        if matches:
            first = max(matches[0][0] - 20, 0)
            line = Text(("…" if first else "") + text[first : first + 180], style="dim")
            shift = bool(first) - first
            for start, end in matches:
                if end + shift <= len(line):
                    line.stylize("bold yellow", start + shift, end + shift)
            return line
    return Text("")


@app.command()
def series(
    ctx: typer.Context,
    since: Annotated[str, typer.Option(help="Such as 30m, 24h, 7d, or 2026-11-21T14:00Z.")] = "24h",
    grain: Annotated[str, typer.Option(help="minute, hour or day.")] = "hour",
    by: Annotated[
        str | None, typer.Option(help="model, release, prompt, environment, deployment, key or user.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Only this value of --by.")] = None,
    measure: Annotated[str, typer.Option(help="calls or traces.")] = "calls",
) -> None:
    """Show requests, errors, tokens, cost and latency over time."""
    term = terminal(ctx)
    choice: dict[str, Any] = {"grain": grain, "by": by, "key": key, "measure": measure}
    points = Traces(term.http).series(parse_time_option(since) or datetime.now(UTC), **choice)
    if term.as_json or not points:
        term.table(points, [], empty="Nothing in this time.")
        return
    largest = max(point.requests for point in points)
    pattern = {"minute": "%H:%M", "hour": "%m-%d %H:%M", "day": "%Y-%m-%d"}[grain]
    rows = [
        [
            Text(point.t.astimezone().strftime(pattern)),
            *([Text(point.key or "-", style="cyan")] if by else []),
            Text(f"{point.requests}"),
            Text(render_bar(point.requests, largest, 12), style="blue"),
            Text(str(point.errors), style="red" if point.errors else "dim"),
            Text(format_tokens(point.input_tokens, point.output_tokens)),
            Text(format_cost(point.cost_usd)),
            Text(format_duration(point.p50_ms)),
            Text(format_duration(point.p99_ms)),
        ]
        for point in points
    ]
    headings = ["from", *([by] if by else []), measure, "", "errors", "tokens", "cost", "p50", "p99"]
    term.rows(headings, rows)


_ACTIVITY: list[Column] = [
    ("traces", "traces"),
    ("calls", "calls"),
    ("errors", "errors"),
    ("tokens", lambda v: format_tokens(v.input_tokens, v.output_tokens)),
    ("cost", lambda v: format_cost(v.cost_usd)),
    ("last", lambda v: format_time(v.last)),
]


@app.command()
def sessions(
    ctx: typer.Context, user: UserOption = None, since: SinceOption = None, cursor: CursorOption = None,
    limit: LimitOption = 20,
) -> None:  # fmt: skip
    """List sessions, the latest active first."""
    term = terminal(ctx)
    page = Traces(term.http).sessions(user=user, since=parse_time_option(since), cursor=cursor, limit=limit)
    empty = "No sessions: senders set theirs as `session.id` or `gen_ai.conversation.id`."
    term.table(page, [("session", "session"), ("user", "user"), *_ACTIVITY], empty=empty)


@app.command()
def users(ctx: typer.Context, since: SinceOption = "7d", limit: LimitOption = 20) -> None:
    """List users, those with the most calls first."""
    term = terminal(ctx)
    page = Traces(term.http).users(since=parse_time_option(since), limit=limit)
    term.table(page, [("user", "user"), *_ACTIVITY], empty="No users: senders set theirs as `user.id`.")


@app.command()
def days(ctx: typer.Context) -> None:
    """List the days that are stored and what they take up."""
    term = terminal(ctx)
    columns: list[Column] = [
        ("day", "day"),
        ("traces", "traces"),
        ("spans", "spans"),
        ("size", lambda d: size(d.size_bytes)),
        ("a span", lambda d: size(round(d.size_bytes / d.spans)) if d.spans else None),
    ]
    term.table(Traces(term.http).days(), columns, empty="No traces yet.")


@app.command()
def prune(
    ctx: typer.Context,
    before: Annotated[str | None, typer.Option(help="Remove the days before this one, such as 2026-11-01.")] = None,
) -> None:
    """Remove old days: those before a day, or those that the retention setting does not keep."""
    term = terminal(ctx)
    try:
        day = date.fromisoformat(before) if before else None
    except ValueError as error:
        raise BadRequest(f"{before!r} is no day.", hint="Write 2026-11-01.") from error
    pruned = Traces(term.http).prune(day)
    if term.as_json:
        term.show(pruned)
        return
    count = sum(use.spans for use in pruned.days)
    term.out.print(f"{len(pruned.days)} days with {count} spans removed, {size(pruned.freed_bytes)} freed.")
