"""The rows of one side of a comparison, wherever they come from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tidemill.drift.topics import Labelled


@dataclass(frozen=True)
class Row:
    """One request or one dataset row, as far as drift looks at it."""

    id: str
    input: str | None
    output: str | None = None
    label: str | None = None
    finish: str | None = None
    session: str | None = None
    user: str | None = None
    scores: dict[str, float] = field(default_factory=dict)
    at: datetime | None = None


@dataclass(frozen=True)
class Side:
    """Reference or window."""

    label: str
    rows: Sequence[Row]
    notes: Sequence[str] = ()
    labelled: Labelled | None = None
    """Further rows of the reference that are in neither side, with their labels."""
