"""Reading what the features recorded: lineage and audit facts."""

from datetime import datetime

from tidemill.core import events, lineage
from tidemill.core.events import Event
from tidemill.core.kernel import Context
from tidemill.core.lineage import LineageEdge, LineageGraph, LineageNode
from tidemill.core.web import page
from tidemill.core.wire import Page
from tidemill.gateway import service as gateway
from tidemill.governance.types import Lineage, LineageAmbiguous, LineageNotFound
from tidemill.traces import service as traces
from tidemill.traces.types import AnsweredCalls, GroupBy

_ANSWERING: dict[str, GroupBy] = {"release": "release", "deployment": "deployment", "prompt_version": "prompt"}
"""Kinds of things that answer calls, and what their calls are summed up by."""
_COUNTED = 100
"""Of so many things of a kind the calls are counted."""


def trace(ctx: Context, ref: str, *, depth: int = 50) -> Lineage:
    """The lineage of the thing that `ref` means, `depth` generations up and down.

    `ref` is an id, a name such as `trec@1`, or a kind and a name such as `release:trec@1`. Raises LineageNotFound,
    LineageAmbiguous.
    """
    call = _call(ctx, ref)
    if call is not None:
        node, origins = call
        return Lineage(node=node, up=_above(ctx, node, origins, depth), down=_alone(node))
    node = _find(ctx, ref)
    down = _walk(ctx, node, "down", depth)
    return Lineage(node=node, up=_walk(ctx, node, "up", depth), down=down, calls=_answered(ctx, down))


def _answered(ctx: Context, graph: LineageGraph) -> dict[str, AnsweredCalls]:
    """The calls of what is in the graph. A prompt version stands in a call by its name, the others by their ids."""
    found: dict[str, AnsweredCalls] = {}
    for kind, by in _ANSWERING.items():
        nodes = sorted((n for n in graph.nodes if n.kind == kind), key=lambda n: n.id, reverse=True)[:_COUNTED]
        named = {n.label if kind == "prompt_version" else n.id: n.id for n in nodes}
        if named:
            found |= {named[key]: calls for key, calls in traces.answered(ctx, by, list(named)).items()}
    return found


def _call(ctx: Context, ref: str) -> tuple[LineageNode, list[str]] | None:
    """Calls are no entries of the lineage: the traces know each, and what answered it."""
    call_id = ref.removeprefix("call:")
    return gateway.origins(ctx, call_id) if call_id.startswith("chatcmpl-") else None


def _alone(node: LineageNode) -> LineageGraph:
    return LineageGraph(root=node.id, nodes=[node], edges=[])


def _above(ctx: Context, node: LineageNode, origins: list[str], depth: int) -> LineageGraph:
    """What a call was answered by, and all that this was made from."""
    nodes, edges = {node.id: node}, []
    for origin in origins if depth else []:
        found = lineage.walk(ctx.conn, origin, "up", depth=depth - 1)
        if found is not None:
            edges += [LineageEdge(child_id=node.id, parent_id=origin, relation="answered_by"), *found.edges]
            nodes |= {one.id: one for one in found.nodes}
    return LineageGraph(root=node.id, nodes=list(nodes.values()), edges=list(dict.fromkeys(edges)))


def audit(
    ctx: Context,
    *,
    kind: str | None = None,
    subject: str | None = None,
    actor: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Event]:
    """Facts, newest first.

    `kind` may end in `.` to mean a family, such as `approval.`; `subject` is an id or a name as for `trace`; `actor` is
    a person's id or name; `since` belongs to the span, `until` does not.
    """
    if subject is not None and not _is_recorded(ctx, subject):
        subject = _find(ctx, subject).id
    found = events.list_events(
        ctx.conn,
        kind=kind,
        subject=subject,
        actor=actor,
        since=since,
        until=until,
        before=cursor,
        limit=limit + 1,
    )
    return page(found, limit)


def _is_recorded(ctx: Context, subject: str) -> bool:
    return bool(events.list_events(ctx.conn, subject=subject, limit=1))


def _find(ctx: Context, ref: str) -> LineageNode:
    kind, sign, name = ref.partition(":")
    wanted = (kind.replace("-", "_"), name) if sign and "@" not in kind else (None, ref)
    found = lineage.named(ctx.conn, wanted[1], kind=wanted[0])
    if not found:
        raise LineageNotFound(
            f"There is no {ref!r} in the lineage.",
            hint="Give an id, or a name with its number such as trec@1; `list` of the feature shows them.",
        )
    if len(found) > 1:
        names = [f"{n.kind}:{n.label}" if len({m.kind for m in found}) == len(found) else n.id for n in found]
        raise LineageAmbiguous(
            f"{ref!r} may mean {len(found)} things: {', '.join(names[:8])}.",
            hint="Give one of these instead.",
            details={"candidates": [n.id for n in found]},
        )
    return found[0]


def _walk(ctx: Context, node: LineageNode, direction: lineage.Direction, depth: int) -> LineageGraph:
    graph = lineage.walk(ctx.conn, node.id, direction, depth=depth)
    if graph is None:  # the node was found in this very transaction
        raise LineageNotFound(f"There is no {node.id!r} in the lineage.")
    return graph
