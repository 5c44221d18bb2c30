"""Read lineage and audit events, which the other features record."""

from datetime import datetime

from tidemill.core import events, lineage, removals
from tidemill.core.errors import nearest
from tidemill.core.events import Event
from tidemill.core.kernel import Context
from tidemill.core.lineage import LineageEdge, LineageGraph, LineageNode
from tidemill.core.web import page
from tidemill.core.wire import Page
from tidemill.deployments import service as deployments
from tidemill.gateway import service as gateway
from tidemill.governance.event_kinds import check_kind
from tidemill.governance.types import Lineage, LineageAmbiguous, LineageNotFound
from tidemill.registry import service as registry
from tidemill.traces import service as traces
from tidemill.traces.types import AnsweredCalls, GroupBy

_CALL_GROUPS: dict[str, GroupBy] = {"release": "release", "deployment": "deployment", "prompt_version": "prompt"}
"""Kinds of nodes that answer calls, and the field by which their calls are grouped."""
_MAX_COUNTED = 100
"""Calls are counted for at most this many nodes of a kind, the newest."""


def get_lineage(ctx: Context, ref: str, *, depth: int = 50) -> Lineage:
    """Return the lineage of the node that `ref` means, `depth` generations up and down.

    `ref` is an id, a name such as `trec@1` (or `trec`, its newest version), a kind and a name such as `release:trec@1`,
    or `prod/trec` for the deployment that is live there. Raises LineageNotFound, LineageAmbiguous, DeploymentNotFound.
    """
    call = _find_call(ctx, ref)
    if call is not None:
        node, origins = call
        return Lineage(node=node, up=_call_ancestors(ctx, node, origins, depth), down=_single_node(node))
    node = _find(ctx, ref)
    down = _walk(ctx, node, "down", depth)
    return Lineage(node=node, up=_walk(ctx, node, "up", depth), down=down, calls=_count_calls(ctx, down))


def _count_calls(ctx: Context, graph: LineageGraph) -> dict[str, AnsweredCalls]:
    """Return the call counts of the graph's nodes. Calls name a prompt version by its label, the others by id."""
    calls_by_id: dict[str, AnsweredCalls] = {}
    for kind, by in _CALL_GROUPS.items():
        nodes = sorted((n for n in graph.nodes if n.kind == kind), key=lambda n: n.id, reverse=True)[:_MAX_COUNTED]
        node_ids = {n.label if kind == "prompt_version" else n.id: n.id for n in nodes}
        if node_ids:
            counts = traces.count_answered(ctx, by, list(node_ids))
            calls_by_id |= {node_ids[key]: calls for key, calls in counts.items()}
    return calls_by_id


def _find_call(ctx: Context, ref: str) -> tuple[LineageNode, list[str]] | None:
    """Return the node and the origins of a call, from the traces: calls are not stored in the lineage."""
    call_id = ref.removeprefix("call:")
    return gateway.origins(ctx, call_id) if call_id.startswith("chatcmpl-") else None


def _single_node(node: LineageNode) -> LineageGraph:
    return LineageGraph(root=node.id, nodes=[node], edges=[])


def _call_ancestors(ctx: Context, node: LineageNode, origins: list[str], depth: int) -> LineageGraph:
    """Return what answered a call, and the ancestors of that."""
    nodes, edges = {node.id: node}, []
    for origin in origins if depth else []:
        graph = lineage.walk(ctx.conn, origin, "up", depth=depth - 1)
        if graph is not None:
            edges += [LineageEdge(child_id=node.id, parent_id=origin, relation="answered_by"), *graph.edges]
            nodes |= {ancestor.id: ancestor for ancestor in graph.nodes}
    return LineageGraph(root=node.id, nodes=list(nodes.values()), edges=list(dict.fromkeys(edges)))


def list_audit_events(
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
    """Return audit events, newest first.

    `kind` may end in `.` to mean a family, such as `approval.`; `subject` is an id or a name as for `trace`; `actor` is
    a person's id or name; `since` belongs to the span, `until` does not.
    """
    if kind is not None:
        check_kind(kind)
    if subject is not None and not _is_recorded(ctx, subject):
        subject = _find(ctx, subject).id
    recorded = events.list_events(
        ctx.conn,
        kind=kind,
        subject=subject,
        actor=actor,
        since=since,
        until=until,
        before=cursor,
        limit=limit + 1,
    )
    return page(recorded, limit)


def _is_recorded(ctx: Context, subject: str) -> bool:
    return bool(events.list_events(ctx.conn, subject=subject, limit=1))


def _find(ctx: Context, ref: str) -> LineageNode:
    if "/" in ref and not lineage.list_named(ctx.conn, ref):
        ref = deployments.get_deployment(ctx, ref.removeprefix("deployment:")).id
    kind, sign, name = ref.partition(":")
    lookup = (kind.replace("-", "_"), name) if sign and "@" not in kind else (None, ref)
    matches = lineage.list_named(ctx.conn, lookup[1], kind=lookup[0])
    if not matches:
        raise LineageNotFound(
            f"There is no {ref!r} in the lineage.",
            hint=_near_hint(ctx, lookup[1]),
        )
    if len(matches) > 1:
        names = [f"{n.kind}:{n.label}" if len({m.kind for m in matches}) == len(matches) else n.id for n in matches]
        raise LineageAmbiguous(
            f"{ref!r} may mean {len(matches)} things: {', '.join(names[:8])}.",
            hint="Give one of these instead.",
            details={"candidates": [n.id for n in matches]},
        )
    return matches[0]


def _near_hint(ctx: Context, ref: str) -> str:
    labels = lineage.list_labels(ctx.conn)
    suggestions = nearest(ref, sorted({*labels, *(label.partition("@")[0] for label in labels)}))
    if suggestions:
        return f"Did you mean {', '.join(suggestions)}?"
    return "Give an id, a name such as trec or trec@1, or prod/name; `list` of the feature shows them."


def _walk(ctx: Context, node: LineageNode, direction: lineage.Direction, depth: int) -> LineageGraph:
    graph = lineage.walk(ctx.conn, node.id, direction, depth=depth)
    if graph is None:  # the node was found in this very transaction
        raise LineageNotFound(f"There is no {node.id!r} in the lineage.")
    return _with_removals(ctx, graph)


def _with_removals(ctx: Context, graph: LineageGraph) -> LineageGraph:
    """Say of files and model versions whose bytes were removed to free space when and why that was."""
    files = [node.id for node in graph.nodes if node.id.startswith("sha256:")]
    gone = {r.name: (r.removed_at or r.scheduled_at, r.reason) for r in removals.list_by_names(ctx.conn, files)}
    gone = {name: facts for name, facts in gone.items() if not ctx.kernel.blobs.exists(name)}
    gone |= registry.list_files_removed(ctx, [node.id for node in graph.nodes if node.kind == "model_version"])
    nodes = [
        node.model_copy(update={"facts": node.facts | {"files_removed_at": at.isoformat(), "files_removed_why": why}})
        for node, (at, why) in ((node, gone[node.id]) for node in graph.nodes if node.id in gone)
    ]
    removed_nodes = {node.id: node for node in nodes}
    return graph.model_copy(update={"nodes": [removed_nodes.get(node.id, node) for node in graph.nodes]})
