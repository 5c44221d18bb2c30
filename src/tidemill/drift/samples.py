"""The two samples of a drift check: rows of the reference, and rows of the window of live traffic."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tidemill.drift.label_model import LabelledTexts


@dataclass(frozen=True)
class SampleRow:
    """What drift compares of one request or one dataset row."""

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
class DriftSample:
    """The rows of the reference or of the window."""

    label: str
    rows: Sequence[SampleRow]
    notes: Sequence[str] = ()
    labelled: LabelledTexts | None = None
    """Further labelled rows of the reference's dataset that are in neither sample."""
