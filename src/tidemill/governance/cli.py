"""`tidemill lineage` and `tidemill audit`."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.text import Text
from rich.tree import Tree

from tidemill.core.lineage_types import LineageGraph, LineageNode
from tidemill.core.terminal import Column, CursorOption, LimitOption, terminal
from tidemill.core.times import TIME_FORMS, parse_time_option
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
    ref: Annotated[str, typer.Argument(help="An id, name, name@3, kind:name@3 such as release:trec@1, or prod/name.")],
    depth: Annotated[int, typer.Option(min=0, max=200, help="How many generations at most.")] = 50,
) -> None:
    """Where a thing comes from, and what was made from it."""
    term = terminal(ctx)
    result = Governance(term.http).lineage(ref, depth=depth)
    if term.as_json:
        term.show(result)
        return
    for graph, heading_text, up in ((result.up, "was made from", True), (result.down, "led to", False)):
        calls = {} if up else result.calls
        heading = heading_text if graph.edges or calls else f"{heading_text} nothing"
        term.out.print(tree(result.node, graph, heading, up=up, calls=calls))


@app.command("list")
def list_(
    ctx: typer.Context,
    kind: Annotated[str | None, typer.Option(help="Such as release.created; approval. means all of them.")] = None,
    subject: Annotated[str | None, typer.Option(help="An id, name@3, or kind:name@3.")] = None,
    actor: Annotated[str | None, typer.Option(help="A person's name or id.")] = None,
    since: Annotated[str | None, typer.Option(help=f"From then on: {TIME_FORMS}.")] = None,
    until: Annotated[str | None, typer.Option(help="Before this time.")] = None,
    cursor: CursorOption = None,
    limit: LimitOption = 50,
) -> None:
    """Audit events, newest first."""
    term = terminal(ctx)
    page = Governance(term.http).audit(
        kind=kind,
        subject=subject,
        actor=actor,
        since=parse_time_option(since),
        until=parse_time_option(until),
        cursor=cursor,
        limit=limit,
    )
    term.table(page, _COLUMNS, empty="Nothing was recorded that fits.")


def tree(root: LineageNode, graph: LineageGraph, heading: str, *, up: bool, calls: Mapping[str, AnsweredCalls]) -> Tree:
    """Return the graph as a tree, each node with its calls. A node that is reached twice is expanded once."""
    nodes = {n.id: n for n in graph.nodes}
    branches: dict[str, list[tuple[str, str]]] = {}
    for edge in graph.edges:
        node_id, next_id = (edge.child_id, edge.parent_id) if up else (edge.parent_id, edge.child_id)
        branches.setdefault(node_id, []).append((edge.relation, next_id))
    tree = Tree(Text.assemble(_node_text(root), (f"  {heading}", "dim")))
    stack, shown_ids = [(tree, root.id)], {root.id}
    while stack:
        branch, node_id = stack.pop()
        if node_id in calls:
            branch.add(_calls_text(calls[node_id]))
        unexpanded = []
        for relation, next_id in branches.get(node_id, []):
            is_repeated = next_id in shown_ids and next_id in branches
            label = _node_text(nodes[next_id]).append(f"  ({relation.replace('_', ' ')})", "italic")
            child = branch.add(label.append("  see above", "dim") if is_repeated else label)
            if next_id not in shown_ids:
                shown_ids.add(next_id)
                unexpanded.append((child, next_id))
        stack += reversed(unexpanded)
    return tree


def _node_text(node: LineageNode) -> Text:
    return Text.assemble(f"{node.kind.replace('_', ' ')} ", (node.label, "bold"), (f"  {node.id}", "dim"))


def _calls_text(calls: AnsweredCalls) -> Text:
    since, newest = (f"{at.astimezone():%Y-%m-%d %H:%M}" for at in (calls.first, calls.newest))
    return Text(f"calls: {calls.calls:,} since {since}, newest {newest}, {calls.errors:,} failed")


def _facts(data: dict[str, Any]) -> str:
    """Return an event's data on one line, with shortened hashes and long values."""
    return ", ".join(f"{key}={_shorten(value)}" for key, value in data.items() if value not in (None, "", []))


def _shorten(value: Any) -> str:
    text = str(value)
    return f"{text[:14]}…" if text.startswith("sha256:") else text if len(text) <= 80 else f"{text[:79]}…"
