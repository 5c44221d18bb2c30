"""The values of the lineage graph, apart from their tables so that a client need not load a database."""

from typing import Any

from pydantic import Field

from tidemill.core.wire import Instant, Value


class LineageNode(Value):
    """One thing in the lineage."""

    id: str
    kind: str = Field(description="Such as `dataset_version`, `model_version`, `release`.")
    label: str = Field(description="How a person would name it, such as `trec@1`.")
    facts: dict[str, Any] = Field(default_factory=dict, description="Hashes and figures worth showing.")
    actor_id: str | None = None
    at: Instant | None = None


class LineageEdge(Value):
    """`child` was made from `parent`."""

    child_id: str
    parent_id: str
    relation: str = Field(description="Such as `trained_on`, `merged_from`, `served_by`.")


class LineageGraph(Value):
    """A part of the lineage around one node."""

    root: str
    nodes: list[LineageNode]
    edges: list[LineageEdge]
