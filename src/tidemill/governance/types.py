"""The lineage of one node, and its errors."""

from pydantic import Field

from tidemill.core.errors import Conflict, Invalid, NotFound
from tidemill.core.lineage_types import LineageGraph, LineageNode
from tidemill.core.wire import Value
from tidemill.traces.types import AnsweredCalls


class Lineage(Value):
    """Where one thing comes from, and what was made from it."""

    node: LineageNode
    up: LineageGraph
    down: LineageGraph
    calls: dict[str, AnsweredCalls] = Field(
        default_factory=dict,
        description="What it and the releases, deployments and prompt versions made from it answered, by their ids: of "
        "the newest hundred of each kind. A call is counted with its release and with its deployment.",
    )


class EventKindUnknown(Invalid):
    """No event has this kind."""

    code = "event_kind_unknown"


class LineageNotFound(NotFound):
    """No node of the lineage has this id or name."""

    code = "lineage_not_found"


class LineageAmbiguous(Conflict):
    """Several nodes of the lineage have this name."""

    code = "lineage_ambiguous"
