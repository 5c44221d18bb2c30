"""The lineage around one thing, and what can go wrong when one asks for it."""

from tidemill.core.errors import Conflict, NotFound
from tidemill.core.facts import Graph, Node
from tidemill.core.wire import Value


class Lineage(Value):
    """Where one thing comes from, and what was made from it."""

    node: Node
    up: Graph
    down: Graph


class LineageNotFound(NotFound):
    """Nothing of that id or name is in the lineage."""

    code = "lineage_not_found"


class LineageAmbiguous(Conflict):
    """Several things have that name."""

    code = "lineage_ambiguous"
