"""`tidemill monitors`: the overview, drift monitors, and checks now, also as `tidemill slo check`."""

from typing import Annotated

import typer

from tidemill.core.state_text import state_text
from tidemill.core.terminal import Column, terminal
from tidemill.drift import cli as drift
from tidemill.jobs.cli import progress_display
from tidemill.kpis import cli as kpis
from tidemill.monitors.sdk import Monitors
from tidemill.slos import cli as slos
from tidemill.slos.sdk import Slos

app = typer.Typer(help="Everything that is monitored: objectives, KPIs, drift.", no_args_is_help=True)

_COLUMNS: list[Column] = [
    ("kind", "kind"),
    ("name", "name"),
    ("verdict", lambda m: state_text(m.verdict)),
    ("alerts", "alerts"),
    ("checked", "checked_at"),
    ("summary", "summary"),
]


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """Every SLO, KPI and drift monitor with the result of its last check."""
    term = terminal(ctx)
    empty = "Nothing is monitored yet. Begin: tidemill slo set answers-in-time --latency 2000 --goal 0.95"
    term.table(Monitors(term.http).list(), _COLUMNS, empty=empty)


@app.command()
def check(ctx: typer.Context, name: Annotated[str, typer.Argument(help="Its name.")]) -> None:
    """Check now, and open or resolve alerts."""
    term = terminal(ctx)
    with progress_display(term, name) as watch:
        checked = Monitors(term.http).check(name, watch=watch)
    if term.as_json:
        term.show(checked)
        return
    if checked.slo is not None:
        slos.show_status(term, checked.slo)
    if checked.kpi is not None:
        kpis.show_report(term, checked.kpi)
    if checked.drift is not None:
        drift.show_report(term, checked.drift)


def check_slo(ctx: typer.Context, name: slos.NameArgument) -> None:
    """Check now where an objective stands, and open or resolve its alerts."""
    term = terminal(ctx)
    status = Monitors(term.http).check(name).slo
    slos.show_status(term, status if status is not None else Slos(term.http).status(name))


for _command in (drift.create, drift.show, drift.report, drift.reports, drift.remove):
    app.command()(_command)
