"""`tidemill storage`: what takes space, why it is kept, and what may go."""

from typing import Annotated

import typer

from tidemill.core.terminal import Column, CursorOption, LimitOption, size, terminal
from tidemill.jobs.cli import follow
from tidemill.storage.sdk import Storage
from tidemill.storage.types import ItemState

app = typer.Typer(help="What takes space, why it is kept, and what may go.")

_KINDS: list[Column] = [
    ("kind", "kind"),
    ("files", "files"),
    ("size", lambda kind: size(kind.bytes)),
    ("may go", lambda kind: size(kind.removable_bytes) if kind.removable_files else None),
    ("why it is kept", "why"),
]
SHORT_HASH = 19
"""Characters of a blob's name in a table: enough to tell blobs apart. --json has the whole."""


def _short(name: str) -> str:
    return name[:SHORT_HASH] if name.startswith("sha256:") else name


_ITEMS: list[Column] = [
    ("name", lambda item: _short(item.name)),
    ("size", lambda item: size(item.size)),
    ("state", "state"),
    ("why", "why"),
]
_REMOVED: list[Column] = [
    ("name", lambda removal: _short(removal.name)),
    ("size", lambda removal: size(removal.size)),
    ("removed", "removed_at"),
    ("by", "by"),
    ("reason", "reason"),
]


@app.callback(invoke_without_command=True)
def show(ctx: typer.Context) -> None:
    """What takes space, why it is kept, and what may go."""
    if ctx.invoked_subcommand is not None:
        return
    term = terminal(ctx)
    report = Storage(term.http).get()
    if term.as_json:
        term.show(report)
        return
    term.table(report.kinds, _KINDS, empty="Nothing is stored yet.")
    term.print(f"{size(report.bytes)} in {report.home}; blobs are in {report.blobs}.")
    automatic = "by itself while a server runs" if report.automatic else "only when you say so"
    term.print(f"What nothing needs goes after {report.keep_days} days, {automatic}: tidemill storage clean")


@app.command("list")
def list_(
    ctx: typer.Context,
    kind: Annotated[str | None, typer.Option(help="Only this kind, as `tidemill storage` names it.")] = None,
    state: Annotated[str | None, typer.Option(help="needed, young or removable.")] = None,
    cursor: CursorOption = None,
    limit: LimitOption = 50,
) -> None:
    """List blobs, files and folders, the largest first, each with what needs it."""
    term = terminal(ctx)
    chosen: ItemState | None = state  # type: ignore[assignment]  # the server says what is wrong with another word
    page = Storage(term.http).list(kind=kind, state=chosen, cursor=cursor, limit=limit)
    term.table(page, _ITEMS, empty="Nothing of that sort is stored.")


@app.command()
def removed(ctx: typer.Context, cursor: CursorOption = None, limit: LimitOption = 50) -> None:
    """List what was removed to free space, the latest first."""
    term = terminal(ctx)
    term.table(Storage(term.http).list_removed(cursor=cursor, limit=limit), _REMOVED, empty="Nothing was removed.")


@app.command()
def clean(
    ctx: typer.Context,
    keep_days: Annotated[
        int | None, typer.Option(min=1, help="Age in days of what may go; default: TIDEMILL_STORAGE_KEEP_DAYS.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; else only show what would go.")] = False,
) -> None:
    """Show what may go, and with --yes remove it: what nothing refers to, folders of ended jobs, logs and caches."""
    term = terminal(ctx)
    plan = Storage(term.working_http if yes else term.http).clean(apply=yes, keep_days=keep_days)
    if yes and plan.job_id is not None:
        job = follow(term, plan.job_id, label="cleaning")
        if term.as_json:
            term.show(job)
        else:
            term.print(f"Removed {job.result['files']} files or folders, {size(job.result['bytes'])}.")  # type: ignore[index]
        return
    if term.as_json:
        term.show(plan)
        return
    term.table(plan.items, _ITEMS, empty=f"Nothing may go that is older than {plan.keep_days} days.")
    if plan.files:
        term.print(
            f"{plan.files} files or folders, {size(plan.bytes)}, may go. Remove them: tidemill storage clean --yes"
        )
