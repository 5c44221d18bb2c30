"""The scores of spans, which a feature above keeps."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidemill.core.kernel import Context


@dataclass(frozen=True)
class SpanScores:
    """Deletes the scores of spans. Registered with the kernel.

    `delete_by_span_start` deletes the scores of the spans that began in [since, until) and returns how many; a `since`
    of None means from the first one on. It deletes none where the settings keep scores longer than spans.
    """

    delete_by_span_start: Callable[["Context", datetime | None, datetime], int]
