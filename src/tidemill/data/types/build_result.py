"""What a job hands from the step that makes a version to the step that records it."""

from tidemill.core.wire import Value
from tidemill.data.types.versions import LeakReport, SourceInfo, SplitInfo, Statistics, StepReport


class BuildResult(Value):
    """A version that has been made but not yet recorded."""

    version_id: str
    content_hash: str
    sources: list[SourceInfo]
    splits: list[SplitInfo]
    steps: list[StepReport]
    leaks: LeakReport
    statistics: Statistics
