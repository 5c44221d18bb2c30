"""The shapes of jobs, and what can go wrong with them."""

from typing import Any, Literal

from pydantic import Field

from tidemill.core.errors import Conflict, ErrorBody, Failed, Invalid, NotFound, Unavailable
from tidemill.core.wire import Body, Instant, Value

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]

LogLevel = Literal["info", "warning", "error"]

ENDED: frozenset[JobState] = frozenset({"succeeded", "failed", "cancelled"})

RESULT_BYTES = 2**20
"""Largest result of a step or a job as JSON; more belongs into a blob."""


class Progress(Value):
    """How far a job has come."""

    done: float | None = None
    total: float | None = None
    message: str | None = None
    unit: str | None = Field(default=None, description="What `done` and `total` count, such as `answers`.")
    figures: dict[str, Any] = Field(default_factory=dict, description="Such as loss, tokens per second, time left.")
    at: Instant


class Job(Value):
    """A piece of work that outlives the request that asked for it, and a crash."""

    id: str
    kind: str = Field(description="Which work, such as `data.import`.")
    state: JobState
    subject: str | None = Field(description="Id of what the job makes or changes.")
    args: dict[str, Any]
    key: str | None = Field(description="Idempotency key: the same kind and key is the same job.")
    attempt: int = Field(description="1, and one more for each retry.")
    progress: Progress | None
    waiting_for: str | None = Field(description="Topic of the signal it waits for.")
    cancel_requested: bool
    error: ErrorBody | None
    result: Any | None
    actor_id: str
    actor_name: str
    created_at: Instant
    started_at: Instant | None
    finished_at: Instant | None
    queued_behind: list[str] = Field(
        default=[],
        description="Of a queued job that is asked for by itself: what it waits for, running jobs first.",
    )

    @property
    def ended(self) -> bool:
        """Whether it has succeeded, failed or been cancelled."""
        return self.state in ENDED


class LiveJob(Value):
    """A job that may still need its files: it has not ended, or can be retried."""

    id: str
    kind: str
    state: JobState
    subject: str | None
    args: dict[str, Any]
    created_at: Instant

    @property
    def ended(self) -> bool:
        """Whether it runs no more, and can be retried."""
        return self.state in ENDED


class LogLine(Value):
    """One line of a job's log."""

    id: int
    at: Instant
    level: LogLevel
    message: str
    data: dict[str, Any] | None


class JobLog(Value):
    """A piece of a job's log."""

    lines: list[LogLine]
    next_offset: int = Field(description="Give it back as `offset` for the lines after these.")


class SignalSend(Body):
    """A signal to a waiting job: topic and payload."""

    topic: str = Field(min_length=1, max_length=120)
    payload: Any = None


class JobNotFound(NotFound):
    """No job has this id."""

    code = "job_not_found"


class JobKindUnknown(Invalid):
    """No job kind of this name is registered."""

    code = "job_kind_unknown"


class JobFilesRemoved(Conflict):
    """What the job's first steps made was removed to free space."""

    code = "job_files_removed"


class JobKeyReused(Conflict):
    """The idempotency key was used with other arguments."""

    code = "job_key_reused"


class JobEnded(Conflict):
    """The job has ended, so it cannot be changed any more."""

    code = "job_ended"


class JobNotEnded(Conflict):
    """Only a failed or cancelled job can be retried."""

    code = "job_not_retryable"


class JobResultTooLarge(Invalid):
    """A step or a job returned more than fits."""

    code = "job_result_too_large"


class JobStepsChanged(Conflict):
    """The code now does other steps than those that were recorded."""

    code = "job_steps_changed"


class JobKeepsCrashing(Failed):
    """The server died each time the job ran."""

    code = "job_keeps_crashing"


class JobProcessFailed(Failed):
    """A process of the job ended with an error."""

    code = "job_process_failed"


class JobFailed(Failed):
    """A job that was waited for has failed."""

    code = "job_failed"


class JobCancelledError(Conflict):
    """A job that was waited for has been cancelled."""

    code = "job_cancelled"


class JobWaitTimeout(Unavailable):
    """A job that was waited for has not ended in time."""

    code = "job_wait_timeout"


class JobInterrupted(BaseException):
    """Leaves a job's function at once. Not an Exception, so that no "except Exception" on the way keeps it."""


class JobCancelled(JobInterrupted):
    """Somebody asked for the job's end."""


class JobSuspended(JobInterrupted):
    """This process stops or has lost the job; it goes on from its last finished step elsewhere or later."""
