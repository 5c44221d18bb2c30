"""Lineage: what was made from what. Every immutable thing is a node, every "made from" an edge."""

from collections.abc import Iterable
from typing import Literal

import sqlalchemy as sa

from tidemill.core.db import Json, UtcDateTime, insert_new, metadata
from tidemill.core.kernel import Context
from tidemill.core.lineage_types import LineageEdge, LineageGraph, LineageNode

__all__ = [
    "Direction",
    "LineageEdge",
    "LineageGraph",
    "LineageNode",
    "edges",
    "find",
    "labels",
    "list_labels",
    "list_named",
    "nodes",
    "record",
    "walk",
]

nodes = sa.Table(
    "lineage_nodes",
    metadata,
    sa.Column("id", sa.String(120), primary_key=True),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("label", sa.String(300), nullable=False),
    sa.Column("facts", Json, nullable=False),
    sa.Column("actor_id", sa.String(40), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)

edges = sa.Table(
    "lineage_edges",
    metadata,
    sa.Column("child_id", sa.String(120), sa.ForeignKey("lineage_nodes.id"), nullable=False),
    sa.Column("parent_id", sa.String(120), sa.ForeignKey("lineage_nodes.id"), nullable=False),
    sa.Column("relation", sa.String(40), nullable=False),
    sa.PrimaryKeyConstraint("child_id", "parent_id", "relation"),
    sa.Index("ix_lineage_edges_parent_id", "parent_id"),
)


def record(ctx: Context, node: LineageNode, parents: Iterable[tuple[str, str]] = ()) -> None:
    """Insert `node` and its parents as (parent id, relation). Recording it again adds only new edges.

    Every parent must have been entered before.
    """
    values = node.model_dump() | {"actor_id": node.actor_id or ctx.actor.id, "at": node.at or ctx.now}
    insert_new(ctx.conn, nodes, [values])
    rows = [{"child_id": node.id, "parent_id": parent, "relation": name} for parent, name in dict.fromkeys(parents)]
    insert_new(ctx.conn, edges, rows)


Direction = Literal["up", "down"]


def list_named(conn: sa.Connection, ref: str, *, kind: str | None = None, limit: int = 20) -> list[LineageNode]:
    """Return every node whose id or label is `ref`, of one kind if given; that id alone when there is one.

    A bare name means its newest version: one node of each kind that has versions of that name.
    """
    query = sa.select(nodes).where(sa.or_(nodes.c.id == ref, nodes.c.label == ref)).order_by(nodes.c.id)
    if kind is not None:
        query = query.where(nodes.c.kind == kind)
    matches = [LineageNode.model_validate(dict(row._mapping)) for row in conn.execute(query.limit(limit))]
    return [n for n in matches if n.id == ref] or matches or _newest_versions(conn, ref, kind)


def _newest_versions(conn: sa.Connection, name: str, kind: str | None) -> list[LineageNode]:
    if not name or "@" in name:
        return []
    # Not LIKE, which takes capitals for small letters on SQLite.
    versions = sa.func.substr(nodes.c.label, 1, len(name) + 1) == f"{name}@"
    newest = sa.select(sa.func.max(nodes.c.id)).where(versions, nodes.c.label.not_like("% %")).group_by(nodes.c.kind)
    query = sa.select(nodes).where(nodes.c.id.in_(newest)).order_by(nodes.c.id)
    if kind is not None:
        query = query.where(nodes.c.kind == kind)
    return [LineageNode.model_validate(dict(row._mapping)) for row in conn.execute(query)]


def find(conn: sa.Connection, kind: str, ref: str) -> LineageNode | None:
    """Return the newest node of a kind whose id or label is `ref`, or the newest version of that name.

    For features that may not import the one that made it.
    """
    query = sa.select(nodes).where(nodes.c.kind == kind, sa.or_(nodes.c.id == ref, nodes.c.label == ref))
    row = conn.execute(query.order_by(nodes.c.id.desc()).limit(1)).first()
    if row is not None:
        return LineageNode.model_validate(dict(row._mapping))
    return next(iter(_newest_versions(conn, ref, kind)), None)


def list_labels(conn: sa.Connection, kind: str | None = None, *, limit: int = 1000) -> list[str]:
    """Return the labels of the newest nodes, of one kind if given, for "did you mean"."""
    query = sa.select(nodes.c.label).order_by(nodes.c.id.desc())
    if kind is not None:
        query = query.where(nodes.c.kind == kind)
    return list(conn.execute(query.limit(limit)).scalars())


def labels(conn: sa.Connection, ids: Iterable[str]) -> dict[str, str]:
    """Return the labels of these nodes by id, in one query; an id that is no node is left out."""
    sorted_ids = sorted(set(ids))
    if not sorted_ids:
        return {}
    rows = conn.execute(sa.select(nodes.c.id, nodes.c.label).where(nodes.c.id.in_(sorted_ids)))
    return {row.id: row.label for row in rows}


def _edges(conn: sa.Connection, column: sa.Column[str], ids: set[str]) -> list[LineageEdge]:
    rows = conn.execute(sa.select(edges).where(column.in_(sorted(ids))))
    return [LineageEdge.model_validate(dict(row._mapping)) for row in rows]


def walk(
    conn: sa.Connection, root: str, direction: Direction, *, depth: int = 50, limit: int = 5000
) -> LineageGraph | None:
    """Return the graph of all ancestors (`up`) or descendants (`down`) of `root`; None for an unknown node.

    Stops after `depth` generations or `limit` nodes.
    """
    column = edges.c.child_id if direction == "up" else edges.c.parent_id
    visited, frontier, collected = {root}, {root}, list[LineageEdge]()
    for _ in range(depth):
        if not frontier or len(visited) >= limit:
            break
        step = _edges(conn, column, frontier)
        collected += step
        reached = {e.parent_id if direction == "up" else e.child_id for e in step}
        frontier = reached - visited
        visited |= frontier
    rows = conn.execute(sa.select(nodes).where(nodes.c.id.in_(sorted(visited)))).all()
    members = [LineageNode.model_validate(dict(row._mapping)) for row in rows]
    if root not in {n.id for n in members}:
        return None
    return LineageGraph(root=root, nodes=members, edges=list(dict.fromkeys(collected)))
