"""`tidemill alerts`."""

from typing import Annotated

import typer

from tidemill.core.state_text import state_text
from tidemill.core.terminal import Column, CursorOption, LimitOption, terminal
from tidemill.notifications.sdk import Alerts

app = typer.Typer(help="Alerts: open, acknowledged, resolved.", no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(help="The alert's id.")]
NoteOption = Annotated[str, typer.Option(help="Why.")]

_COLUMNS: list[Column] = [
    ("id", "id"),
    ("state", lambda a: state_text(a.state)),
    ("title", "title"),
    ("opened", "opened_at"),
    ("severity", lambda a: state_text(a.severity)),
    ("seen", "seen_at"),
]


@app.command("list")
def list_(
    ctx: typer.Context,
    state: Annotated[str | None, typer.Option(help="open, acknowledged or resolved.")] = None,
    name: Annotated[str | None, typer.Option(help="Only of this objective, KPI, drift monitor or trigger.")] = None,
    cursor: CursorOption = None,
    limit: LimitOption = 50,
) -> None:
    """Alerts, newest first."""
    term = terminal(ctx)
    page = Alerts(term.http).list(state=state, name=name, cursor=cursor, limit=limit)
    empty = "No alert fits." if state or name else "No alerts. `tidemill monitors list` shows what is watched."
    term.table(page, _COLUMNS, empty=empty)


@app.command()
def show(ctx: typer.Context, alert_id: IdArgument) -> None:
    """One alert with its evidence and its history."""
    term = terminal(ctx)
    detail = Alerts(term.http).get(alert_id)
    if term.as_json:
        term.show(detail)
        return
    term.show(detail.alert)
    history: list[Column] = [("at", "at"), ("what", "what"), ("by", "by"), ("note", "note")]
    term.table(detail.history, history, empty="No history.", title="\nHistory")


@app.command()
def ack(ctx: typer.Context, alert_id: IdArgument, note: NoteOption = "") -> None:
    """Acknowledge an alert."""
    term = terminal(ctx)
    term.show(Alerts(term.http).acknowledge(alert_id, note), _COLUMNS)


@app.command()
def resolve(ctx: typer.Context, alert_id: IdArgument, note: NoteOption = "") -> None:
    """Resolve an alert by hand. While its cause stands, the next check opens a new one."""
    term = terminal(ctx)
    term.show(Alerts(term.http).resolve(alert_id, note), _COLUMNS)
