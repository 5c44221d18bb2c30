"""`tidemill traces erase` and `tidemill traces erasures`."""

from typing import Annotated

import typer

from tidemill.core.terminal import Column, CursorOption, LimitOption, YesOption, terminal
from tidemill.feedback.erasure.sdk import Erasures
from tidemill.feedback.types.erasure import Footprint

_COLUMNS: list[Column] = [
    ("id", "id"),
    ("traces", "traces"),
    ("spans", "spans"),
    ("scores", "scores"),
    ("answers", "answers"),
    ("copies", "copies"),
    ("began", "began_at"),
    ("finished", "finished_at"),
    ("by", "by"),
]


def erase(
    ctx: typer.Context,
    user: Annotated[str, typer.Option(help="The user, as the application named them.")],
    yes: YesOption = False,
) -> None:
    """Erase a user: traces, scores, and rows on their way into datasets. Asks first, unless --yes is given."""
    term = terminal(ctx)
    erasures = Erasures(term.http)
    if not yes:
        footprint = erasures.footprint(user)
        term.confirm(f"Erase {_describe(footprint)} of {user!r} for good?", yes=yes)
    erasure = erasures.erase(user)
    if term.as_json:
        term.show(erasure)
        return
    if not (erasure.traces or erasure.scores or erasure.answers or erasure.copies):
        term.print(f"Nothing of {user!r} is stored, so nothing was erased. Names: tidemill traces users")
        return
    term.print(f"Erased {_describe(erasure)}: {erasure.id}.")
    if erasure.datasets:
        term.print(f"These dataset versions hold rows of theirs still: {', '.join(erasure.datasets)}.")
    if erasure.models:
        term.print(f"These models were trained on them: {', '.join(erasure.models)}.")


def _describe(footprint: Footprint) -> str:
    rows = f"{footprint.scores} scores, {footprint.answers} collected answers and {footprint.copies} shadow copies"
    return f"{footprint.traces} traces ({footprint.spans} spans), {rows}"


def erasures(
    ctx: typer.Context,
    user: Annotated[str | None, typer.Option(help="Only of this user.")] = None,
    cursor: CursorOption = None,
    limit: LimitOption = 50,
) -> None:
    """List erasures, newest first. Users are known by a hash alone."""
    term = terminal(ctx)
    term.table(Erasures(term.http).list(user=user, cursor=cursor, limit=limit), _COLUMNS, empty="Nobody was erased.")
