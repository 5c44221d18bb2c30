"""`tidemill monitors`."""

from typing import Annotated

import typer

from tidemill.core.terminal import Column, terminal
from tidemill.monitors.cli.kpis import show_report
from tidemill.monitors.cli.looks import verdict
from tidemill.monitors.cli.slos import show_status
from tidemill.monitors.drift.cli import show_report as show_drift
from tidemill.monitors.sdk import Monitors

app = typer.Typer(help="All that is watched: objectives, indicators, drift.", no_args_is_help=True)

_COLUMNS: list[Column] = [
    ("kind", "kind"),
    ("name", "name"),
    ("verdict", lambda m: verdict(m.verdict)),
    ("alerts", "alerts"),
    ("checked", "checked_at"),
    ("what it said", "summary"),
]


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """Everything that is watched and what it said last."""
    term = terminal(ctx)
    empty = "Nothing is watched yet. Begin: tidemill slo set answers-in-time --latency 2000 --goal 0.95"
    term.table(Monitors(term.http).list(), _COLUMNS, empty=empty)


@app.command()
def check(ctx: typer.Context, name: Annotated[str, typer.Argument(help="Its name.")]) -> None:
    """Look now, and open or resolve alerts."""
    term = terminal(ctx)
    found = Monitors(term.http).check(name)
    if term.as_json:
        term.show(found)
        return
    if found.slo is not None:
        show_status(term, found.slo)
    if found.kpi is not None:
        show_report(term, found.kpi)
    if found.drift is not None:
        show_drift(term, found.drift)
