"""`tidemill notifiers`."""

import getpass
import sys
from typing import Annotated, Any

import typer
from rich.panel import Panel
from rich.text import Text

from tidemill.core.state_text import state_text
from tidemill.core.terminal import Column, CursorOption, LimitOption, Terminal, terminal
from tidemill.notifications.sdk import Notifiers

app = typer.Typer(help="Where alerts are sent: webhooks, Slack, e-mail.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="The notifier's name.")]
SeverityOption = Annotated[list[str] | None, typer.Option(help="page, ticket; both when left out.")]

_COLUMNS: list[Column] = [
    ("name", "name"),
    ("kind", "kind"),
    ("address", "target"),
    ("secret kept", "signed"),
    ("severities", "severities"),
    ("by", "saved_by"),
    ("at", "saved_at"),
]


@app.command()
def webhook(
    ctx: typer.Context,
    name: NameArgument,
    url: Annotated[str, typer.Option(help="Where to POST; - reads it from standard input.")],
    severity: SeverityOption = None,
    own_secret: Annotated[bool, typer.Option("--own-secret", help="Ask for the signing key, not make one.")] = False,
) -> None:
    """Send alerts to a program: a signed POST for each."""
    spec: dict[str, Any] = {"kind": "webhook", "url": _read_secret(url, "URL")}
    if own_secret:
        spec["secret"] = _read_secret("-", "Signing key")
    _save(terminal(ctx), name, spec, severity)


@app.command()
def slack(
    ctx: typer.Context,
    name: NameArgument,
    url: Annotated[str, typer.Option(help="The incoming webhook's URL; - reads it from standard input.")],
    severity: SeverityOption = None,
) -> None:
    """Send alerts to Slack, or to whatever takes Slack's incoming webhooks (Mattermost, Discord's /slack)."""
    _save(terminal(ctx), name, {"kind": "slack", "url": _read_secret(url, "URL")}, severity)


@app.command()
def email(
    ctx: typer.Context,
    name: NameArgument,
    host: Annotated[str, typer.Option(help="The SMTP server.")],
    sender: Annotated[str, typer.Option(help="From.")],
    to: Annotated[list[str], typer.Option(help="To; may be given several times.")],
    port: Annotated[int, typer.Option(min=1, max=65535)] = 587,
    security: Annotated[str, typer.Option(help="starttls, tls or none.")] = "starttls",
    username: Annotated[str | None, typer.Option(help="The SMTP user; the password is asked for.")] = None,
    severity: SeverityOption = None,
) -> None:
    """Send alerts by e-mail."""
    spec: dict[str, Any] = {
        "kind": "email",
        "host": host,
        "port": port,
        "security": security,
        "sender": sender,
        "recipients": to,
        "username": username,
    }
    if username is not None:
        spec["secret"] = _read_secret("-", "Password")
    _save(terminal(ctx), name, spec, severity)


def _read_secret(value: str, prompt: str) -> str:
    """Return the value, or for `-` a secret read from the terminal or standard input, not from the shell's history."""
    if value != "-":
        return value
    return getpass.getpass(f"{prompt}: ") if sys.stdin.isatty() else sys.stdin.readline().strip()


def _save(term: Terminal, name: str, spec: dict[str, Any], severities: list[str] | None) -> None:
    saved = Notifiers(term.http).put(name, **spec, **({"severities": severities} if severities else {}))
    if term.as_json:
        term.show(saved)
        return
    term.show(saved.notifier, _COLUMNS)
    if saved.secret is not None:
        term.print(Panel(Text.assemble("Signing key, shown this once:\n", (saved.secret, "bold")), expand=False))
    term.print(f"Try it: tidemill notifiers test {name}")


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """Every notifier, without its secrets."""
    term = terminal(ctx)
    empty = "Nobody is told yet. Begin: tidemill notifiers webhook ops --url https://ops.example/hook"
    term.table(Notifiers(term.http).list(), _COLUMNS, empty=empty)


@app.command()
def test(ctx: typer.Context, name: NameArgument) -> None:
    """Send a test message, the way alerts go."""
    term = terminal(ctx)
    delivery = Notifiers(term.working_http).test(name)
    if term.as_json:
        term.show(delivery)
    else:
        term.print(f"{delivery.id} is in the outbox. See what became of it: tidemill notifiers deliveries {name}")


@app.command()
def deliveries(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Only of this notifier.")] = None,
    state: Annotated[str | None, typer.Option(help="waiting, sent or failed.")] = None,
    cursor: CursorOption = None,
    limit: LimitOption = 50,
) -> None:
    """Messages that were sent, failed or wait, newest first."""
    term = terminal(ctx)
    columns: list[Column] = [
        ("id", "id"),
        ("notifier", "notifier"),
        ("what", "what"),
        ("state", lambda d: state_text(d.state)),
        ("attempts", "attempts"),
        ("next", "next_at"),
        ("sent", "sent_at"),
        ("error", "error"),
    ]
    page = Notifiers(term.http).deliveries(name, state=state, cursor=cursor, limit=limit)
    term.table(page, columns, empty="Nothing was told yet.")


@app.command()
def retry(ctx: typer.Context, delivery_id: Annotated[str, typer.Argument(help="The delivery's id.")]) -> None:
    """Send a failed delivery again."""
    term = terminal(ctx)
    term.show(Notifiers(term.http).retry(delivery_id))


@app.command()
def remove(ctx: typer.Context, name: NameArgument) -> None:
    """Delete a notifier."""
    term = terminal(ctx)
    Notifiers(term.http).remove(name)
    term.print(f"{name} is removed.")
