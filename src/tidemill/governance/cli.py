"""`tidemill lineage` and `tidemill audit`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.text import Text
from rich.tree import Tree

from tidemill.core.errors import BadRequest
from tidemill.core.lineage_types import LineageGraph, LineageNode
from tidemill.core.terminal import Column, CursorOption, LimitOption, terminal
from tidemill.governance.sdk import Governance
from tidemill.traces.types import AnsweredCalls

app = typer.Typer(help="Who did what and when.", no_args_is_help=True)

_COLUMNS: list[Column] = [
    ("at", "at"),
    ("by", "actor_name"),
    ("what", "kind"),
    ("subject", "subject"),
    ("facts", lambda e: _facts(e.data)),
]


def lineage(
    ctx: typer.Context,
    ref: Annotated[str, typer.Argument(help="An id, name@3, or kind:name@3 such as release:trec@1.")],
    depth: Annotated[int, typer.Option(min=0, max=200, help="How many generations at most.")] = 50,
) -> None:
    """Where a thing comes from, and what was made from it."""
    term = terminal(ctx)
    found = Governance(term.http).lineage(ref, depth=depth)
    if term.as_json:
        term.show(found)
        return
    for graph, way, up in ((found.up, "was made from", True), (found.down, "led to", False)):
        calls = {} if up else found.calls
        heading = way if graph.edges or calls else f"{way} nothing"
        term.out.print(tree(found.node, graph, heading, up=up, calls=calls))


@app.command("list")
def list_(
    ctx: typer.Context,
    kind: Annotated[str | None, typer.Option(help="Such as release.created; approval. means all of them.")] = None,
    subject: Annotated[str | None, typer.Option(help="An id, name@3, or kind:name@3.")] = None,
    actor: Annotated[str | None, typer.Option(help="A person's name or id.")] = None,
    since: Annotated[str | None, typer.Option(help="From this time on, such as 2026-11-21T14:00.")] = None,
    until: Annotated[str | None, typer.Option(help="Before this time.")] = None,
    cursor: CursorOption = None,
    limit: LimitOption = 50,
) -> None:
    """Facts, newest first."""
    term = terminal(ctx)
    found = Governance(term.http).audit(
        kind=kind,
        subject=subject,
        actor=actor,
        since=_moment(since),
        until=_moment(until),
        cursor=cursor,
        limit=limit,
    )
    term.table(found, _COLUMNS, empty="Nothing was recorded that fits.")


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadRequest(f"{text!r} is no time.", hint="Write 2026-11-21T14:03, or with a zone, +01:00.") from error
    # Without a zone it is the reader's own clock.
    return moment.astimezone(UTC)


def tree(root: LineageNode, graph: LineageGraph, heading: str, *, up: bool, calls: Mapping[str, AnsweredCalls]) -> Tree:
    """The graph as a tree, each thing with the calls it answered. What is reached twice is shown in full once."""
    nodes = {n.id: n for n in graph.nodes}
    branches: dict[str, list[tuple[str, str]]] = {}
    for edge in graph.edges:
        here, there = (edge.child_id, edge.parent_id) if up else (edge.parent_id, edge.child_id)
        branches.setdefault(here, []).append((edge.relation, there))
    tree = Tree(Text.assemble(_named(root), (f"  {heading}", "dim")))
    stack, shown = [(tree, root.id)], {root.id}
    while stack:
        branch, here = stack.pop()
        if here in calls:
            branch.add(_counted(calls[here]))
        below = []
        for relation, there in branches.get(here, []):
            again = there in shown and there in branches
            label = _named(nodes[there]).append(f"  ({relation.replace('_', ' ')})", "italic")
            twig = branch.add(label.append("  see above", "dim") if again else label)
            if there not in shown:
                shown.add(there)
                below.append((twig, there))
        stack += reversed(below)
    return tree


def _named(node: LineageNode) -> Text:
    return Text.assemble(f"{node.kind.replace('_', ' ')} ", (node.label, "bold"), (f"  {node.id}", "dim"))


def _counted(found: AnsweredCalls) -> Text:
    since, newest = (f"{at.astimezone():%Y-%m-%d %H:%M}" for at in (found.first, found.newest))
    return Text(f"calls: {found.calls:,} since {since}, newest {newest}, {found.errors:,} failed")


def _facts(data: dict[str, Any]) -> str:
    """The facts on one line, with hashes cut as people compare them."""
    return ", ".join(f"{key}={_brief(value)}" for key, value in data.items() if value not in (None, "", []))


def _brief(value: Any) -> str:
    text = str(value)
    return f"{text[:14]}…" if text.startswith("sha256:") else text if len(text) <= 80 else f"{text[:79]}…"
