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
    """The run has ended, so it cannot be changed any more."""

    code = "pipeline_run_ended"


class StepNotFound(NotFound):
    """The run has no such step."""

    code = "pipeline_step_not_found"


class StepNotSkippable(Conflict):
    """A step that runs or has succeeded cannot be skipped."""

    code = "pipeline_step_not_skippable"


class StepFailed(Failed):
    """A step, or the job it waited for, ended without a result."""

    code = "pipeline_step_failed"


class GateRefused(Conflict):
    """The gate did not pass the candidate."""

    code = "gate_refused"


class ApprovalRejected(Conflict):
    """A person rejected the approval that the run waited for."""

    code = "approval_rejected"


class RolledBack(Conflict):
    """The rollout of the new release was rolled back; the old one answers again."""

    code = "rolled_back"


class NothingMeasured(Conflict):
    """A step needs the outputs of an earlier step, which was skipped."""

    code = "pipeline_input_missing"


class PytestMissing(Invalid):
    """pytest is not installed."""

    code = "pytest_missing"
