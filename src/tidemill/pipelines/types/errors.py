"""What can go wrong with a pipeline."""

from tidemill.core.errors import BadRequest, Conflict, Failed, Invalid, NotFound


class PipelineInvalid(Invalid):
    """The document has a word or a value that does not fit; the message says where."""

    code = "pipeline_invalid"


class PipelineUnreadable(BadRequest):
    """The file cannot be read as YAML."""

    code = "pipeline_unreadable"


class PipelineFileMissing(NotFound):
    """There is no such file."""

    code = "pipeline_file_missing"


class PipelineNotFound(NotFound):
    """No pipeline of that name was applied."""

    code = "pipeline_not_found"


class PipelineBusy(Conflict):
    """A run of an earlier version of the pipeline has not ended."""

    code = "pipeline_busy"


class RunNotFound(NotFound):
    """No run of that id or number."""

    code = "pipeline_run_not_found"


class RunNotRetryable(Conflict):
    """Only a run that did not succeed can go on."""

    code = "pipeline_run_not_retryable"


class RunEnded(Conflict):
    """The run has ended, so this comes too late."""

    code = "pipeline_run_ended"


class StepNotFound(NotFound):
    """The run has no such step."""

    code = "pipeline_step_not_found"


class StepNotSkippable(Conflict):
    """A step that is at work or done cannot be skipped."""

    code = "pipeline_step_not_skippable"


class StepFailed(Failed):
    """A step did not come to a good end."""

    code = "pipeline_step_failed"


class GateRefused(Conflict):
    """The gate does not let the candidate go on."""

    code = "gate_refused"


class ApprovalRejected(Conflict):
    """A person has said no."""

    code = "approval_rejected"


class RolledBack(Conflict):
    """The new release did not hold its ground, and the old one answers again."""

    code = "rolled_back"


class NothingMeasured(Conflict):
    """A step needs what a skipped step would have made."""

    code = "pipeline_input_missing"


class PytestMissing(Invalid):
    """pytest is not installed."""

    code = "pytest_missing"
