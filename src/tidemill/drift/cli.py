"""The drift commands of `tidemill monitors`."""

from typing import Annotated, Any

import typer
from rich.text import Text

from tidemill.core.errors import BadRequest
from tidemill.core.state_text import state_text
from tidemill.core.terminal import Column, CursorOption, LimitOption, Terminal, cell, terminal
from tidemill.core.times import TIME_FORMS, parse_time
from tidemill.drift.sdk import Drift
from tidemill.drift.types import ClusterShift, DriftReport, DriftTest

NameArgument = Annotated[str, typer.Argument(help="The monitor's name.")]

_BAR = 24


def create(
    ctx: typer.Context,
    name: NameArgument,
    dataset: Annotated[str | None, typer.Option(help="Compare with a dataset version, such as trec@1.")] = None,
    split: Annotated[str | None, typer.Option(help="With --dataset: which split. Default: the first.")] = None,
    since: Annotated[
        str | None, typer.Option("--from", help=f"Compare with the traffic from then: {TIME_FORMS}.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="... to then.")] = None,
    since_deployment: Annotated[
        bool, typer.Option("--since-deployment", help="Compare with the first traffic since the last deployment.")
    ] = False,
    env: Annotated[str | None, typer.Option("--env", help="Only traffic of this environment.")] = None,
    release: Annotated[str | None, typer.Option(help="Only traffic of releases of this name.")] = None,
    model: Annotated[str | None, typer.Option(help="Only traffic that asked for this model.")] = None,
    rows: Annotated[int, typer.Option(help="The newest so many requests are compared.")] = 300,
    hours: Annotated[float | None, typer.Option(help="Only requests of the last hours.")] = None,
    reference_rows: Annotated[int, typer.Option(help="Rows of the reference at most.")] = 2000,
    minimum_rows: Annotated[int, typer.Option(help="With fewer rows the answer is inconclusive.")] = 100,
    alpha: Annotated[float, typer.Option(help="How often a check may be wrong when nothing has changed.")] = 0.05,
    field: Annotated[list[str] | None, typer.Option(help="inputs, outputs or scores; may be given again.")] = None,
    cluster_by: Annotated[str, typer.Option(help="session, user or none: which rows belong together.")] = "session",
    label_field: Annotated[str | None, typer.Option(help="Field of JSON answers whose shares are compared.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="A known label of the answers; may be given again.")] = None,
    every: Annotated[int, typer.Option(help="Minutes between checks.")] = 60,
) -> None:
    """Watch live traffic for drift from a reference."""
    term = terminal(ctx)
    spec: dict[str, Any] = {
        "environment": env,
        "release": release,
        "model": model,
        "window": {"rows": rows, "hours": hours},
        "reference_rows": reference_rows,
        "minimum_rows": minimum_rows,
        "alpha": alpha,
        "cluster_by": cluster_by,
        "label_field": label_field,
        "labels": label,
        "every_minutes": every,
    }
    if field:
        spec["fields"] = field
    term.show(
        Drift(term.http).create(name, reference=_reference(dataset, split, since, until, since_deployment), **spec)
    )


def _reference(
    dataset: str | None, split: str | None, since: str | None, until: str | None, deployment: bool
) -> dict[str, Any]:
    chosen = [dataset is not None, since is not None or until is not None, deployment]
    if sum(chosen) != 1 or (since is None) != (until is None):
        raise BadRequest(
            "A monitor compares with one reference.",
            hint="Give --dataset, --from and --to, or --since-deployment.",
        )
    if dataset is not None:
        return {"kind": "dataset", "dataset": dataset, "split": split}
    if since is not None and until is not None:
        return {"kind": "period", "start": parse_time(since), "end": parse_time(until)}
    return {"kind": "deployment"}


def show(ctx: typer.Context, name: NameArgument) -> None:
    """What a drift monitor compares with what."""
    term = terminal(ctx)
    term.show(Drift(term.http).get(name))


def report(
    ctx: typer.Context, name: Annotated[str, typer.Argument(help="The monitor's name, or the id of a report.")]
) -> None:
    """The newest drift report of a monitor, in full."""
    term = terminal(ctx)
    show_report(term, Drift(term.http).report(name))


def reports(ctx: typer.Context, name: NameArgument, cursor: CursorOption = None, limit: LimitOption = 20) -> None:
    """The drift reports of a monitor, newest first."""
    term = terminal(ctx)
    columns: list[Column] = [
        ("id", "id"),
        ("at", "created_at"),
        ("verdict", lambda r: state_text(r.verdict)),
        ("rows", lambda r: f"{r.rows_reference} / {r.rows_window}"),
        ("summary", "summary"),
    ]
    empty = f"No reports yet. Compare now: tidemill monitors check {name}"
    term.table(Drift(term.http).reports(name, cursor=cursor, limit=limit), columns, empty=empty)


def remove(ctx: typer.Context, name: NameArgument) -> None:
    """Remove a drift monitor; its reports stay."""
    term = terminal(ctx)
    Drift(term.http).remove(name)
    term.print(f"{name} is watched no longer.")


_TESTS: list[Column] = [
    ("test", "name"),
    ("verdict", lambda t: state_text(t.verdict)),
    ("effect", lambda t: f"{t.effect:.3f}"),
    ("least that counts", lambda t: f"{t.minimum_effect:.3f}"),
    ("chance alone", lambda t: f"{t.noise:.3f}"),
    ("p", lambda t: f"{t.p_value:.3f}"),
    ("adjusted p", lambda t: f"{t.adjusted_p:.3f}"),
    ("reference -> window", lambda t: changed_figures(t)),
]


def changed_figures(test: DriftTest) -> str:
    """Return a test's main change as text: its medians, or the two shares that changed most."""
    if not test.reference:
        return f"{test.rows_reference} -> {test.rows_window} rows"
    if test.method == "ks":
        key = "mean" if test.field == "scores" else "median"
        return f"{key} {test.reference[key]:.4g} -> {test.window[key]:.4g}"
    moved = sorted(test.reference, key=lambda name: -abs(test.window.get(name, 0) - test.reference[name]))[:2]
    return ", ".join(f"{name} {test.reference[name]:.0%} -> {test.window.get(name, 0):.0%}" for name in moved)


def show_report(term: Terminal, report: DriftReport) -> None:
    """Print a drift report."""
    if term.as_json:
        term.show(report)
        return
    head = Text.assemble(state_text(report.verdict), "  ", report.summary)
    term.print(head)
    row_text = f"{report.rows_reference} rows of {report.reference_label} against {report.rows_window} of the window"
    window_text = f", {cell(report.window_start)} to {cell(report.window_end)}" if report.window_start else ""
    term.print(Text(f"{report.monitor}: {row_text}{window_text}; {report.seconds:.1f} s; {report.id}", style="dim"))
    if report.tests:
        term.table(report.tests, _TESTS, empty="")
    for cluster in report.clusters:
        _show_cluster(term, cluster)
    for shift in report.quality:
        term.print(
            Text(
                f"{shift.score}: {shift.before:.3f} on the reference; on the new mix the same answers would give "
                f"{shift.expected:.3f} ({shift.low:+.3f} to {shift.high:+.3f}), worth {shift.effective_rows:.0f} rows."
            )
        )
    for note in report.notes:
        term.print(Text("Note: " + note, style="yellow"))


def _show_cluster(term: Terminal, cluster: ClusterShift) -> None:
    colour = "red" if cluster.change > 0 else "cyan"
    bar = "█" * max(1, round(_BAR * abs(cluster.change)))
    line = Text.assemble(
        ("grew   " if cluster.change > 0 else "shrank ", colour),
        f"{cluster.share_reference:5.1%} -> {cluster.share_window:5.1%} ",
        (bar, colour),
        f"  {cluster.field}: ",
        (", ".join(cluster.terms) or "no telling words", "bold"),
        f"  ({cluster.low:+.1%} to {cluster.high:+.1%})",
    )
    term.print(line)
    if cluster.largest_user_share is not None and cluster.largest_user_share >= 0.5:
        term.print(Text(f"    {cluster.largest_user_share:.0%} of it comes from one user", style="yellow"))
    for example in cluster.examples:
        term.print(Text(f"    {example.text}", style="dim"))
