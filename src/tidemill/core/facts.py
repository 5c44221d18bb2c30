"""The values of lineage and of the audit log, apart from their tables so that a client need not load a database."""

from typing import Any

from pydantic import Field

from tidemill.core.wire import Instant, Value


class Event(Value):
    """One fact."""

    id: str
    at: Instant
    kind: str = Field(description="What happened, such as `prompt.created`.")
    subject: str = Field(description="Id of the thing it happened to.")
    actor_id: str
    actor_name: str
    data: dict[str, Any]


class Node(Value):
    """One thing in the lineage."""

    id: str
    kind: str = Field(description="Such as `dataset_version`, `model_version`, `release`.")
    label: str = Field(description="How a person would name it, such as `trec@1`.")
    facts: dict[str, Any] = Field(default_factory=dict, description="Hashes and figures worth showing.")
    actor_id: str | None = None
    at: Instant | None = None


class Edge(Value):
    """`child` was made from `parent`."""

    child_id: str
    parent_id: str
    relation: str = Field(description="Such as `trained_on`, `merged_from`, `served_by`.")


class Graph(Value):
    """A part of the lineage around one node."""

    root: str
    nodes: list[Node]
    edges: list[Edge]
