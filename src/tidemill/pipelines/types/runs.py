"""Pipelines as they were applied, what a change would do, and runs with their steps."""

from typing import Any, Literal

from pydantic import Field

from tidemill.core.errors import ErrorBody
from tidemill.core.wire import Body, Instant, Name, Value
from tidemill.pipelines.types.document import PipelineSpec

Action = Literal["add", "change", "remove"]
RunState = Literal[
    "queued", "running", "waiting", "succeeded", "refused", "rejected", "rolled_back", "failed", "cancelled"
]
StepState = Literal[
    "pending", "running", "waiting", "succeeded", "cached", "unchanged", "skipped", "failed", "cancelled"
]
Verdict = Literal["pass", "fail", "inconclusive"]

RUN_ENDED: frozenset[RunState] = frozenset({"succeeded", "refused", "rejected", "rolled_back", "failed", "cancelled"})
STEP_DONE: frozenset[StepState] = frozenset({"succeeded", "cached", "unchanged", "skipped"})


class Pipeline(Value):
    """A pipeline as it was applied last."""

    id: str
    name: Name
    number: int = Field(description="1, and one more for each change that was applied.")
    hash: str = Field(description="Hash of the document.")
    spec: PipelineSpec
    applied_at: Instant
    applied_by: str
    removed_at: Instant | None = Field(default=None, description="It starts no runs since; what it did stays.")
    removed_by: str | None = None

    @property
    def ref(self) -> str:
        """Reference of the version, such as `question-types@2`."""
        return f"{self.name}@{self.number}"


class Change(Value):
    """One difference between what was applied and the document."""

    action: Action
    path: str = Field(description="Where, such as `tuning.training.learning_rate` or `gates.quality`.")
    before: Any = None
    after: Any = None


class StepForecast(Value):
    """What the next run would do with a step."""

    name: str
    kind: str
    action: Literal["run", "cached", "ask"] = Field(description="`ask`: the state of things at that moment decides.")
    why: str


class Plan(Value):
    """What `apply` would change, and what the next run would do. Nothing has been changed."""

    name: Name
    new: bool = Field(description="The pipeline has never been applied.")
    changes: list[Change]
    steps: list[StepForecast]
    warnings: list[str] = Field(default_factory=list)


class Applied(Value):
    """What `apply` has changed. Empty `changes`: it was applied already."""

    pipeline: Pipeline
    changes: list[Change]
    later: list[str] = Field(
        default_factory=list, description="What is watched only after a run has made what it names."
    )


class PipelineRemove(Body):
    """Options for the removal of a pipeline."""

    cancel: bool = Field(default=False, description="End a run that is on its way; else that is refused.")


class PipelineRemoved(Value):
    """What the removal of a pipeline has ended."""

    pipeline: Pipeline
    cancelled: str | None = Field(description="The run that was on its way, such as `question-types#3`.")
    retired: list[str] = Field(description="What it had watched, such as `slos.errors`.")
    named_by: list[str] = Field(description="Triggers made elsewhere that name it; they start nothing now.")


class PipelineApply(Body):
    """Apply a document, or say what it would change."""

    spec: PipelineSpec


class Cause(Value):
    """Why a run started, or why it would have started once more while it was on its way."""

    kind: Literal["person", "trigger"]
    by: str = Field(description="Who, or the trigger's name.")
    at: Instant
    joined: bool = Field(description="The run was on its way already.")
    note: str = ""
    reasons: list[str] = Field(default_factory=list)
    firing_id: str | None = Field(default=None, description="The trigger's firing, which the run's minutes are put to.")
    event_id: str | None = Field(default=None, description="The fact `trigger.fired`, with its evidence.")


class RunStart(Body):
    """The request to start a run."""

    pipeline: Name
    note: str = Field(default="", max_length=2000)
    fresh: bool = Field(default=False, description="Do every step, whatever was done before.")


class StepSkip(Body):
    """The request to skip a step."""

    step: str
    reason: str = Field(min_length=1, max_length=2000)


class RunRetry(Body):
    """The request to retry a run."""

    step: str | None = Field(default=None, description="From this step on everything is done again.")


class RunStep(Value):
    """A step that a run has taken or will take: its state, inputs and outputs."""

    id: str
    run_id: str
    position: int
    name: str = Field(description="Such as `tune`, `judge/quality` or `deploy/prod`.")
    kind: str
    state: StepState
    note: str = Field(description="What it did, in a few words.")
    key: str | None = Field(description="Hash of what it reads; the same key is not done twice.")
    outputs: dict[str, Any]
    cached_from: str | None = Field(description="The run whose result was taken.")
    job_id: str | None
    attempt: int
    progress: str | None = Field(description="How far it is, while it works.")
    error: ErrorBody | None
    skipped_by: str | None
    started_at: Instant | None
    finished_at: Instant | None

    @property
    def done(self) -> bool:
        """Whether the run may go past it."""
        return self.state in STEP_DONE


class Run(Value):
    """One run of a pipeline: its steps, its state and what started it."""

    id: str
    pipeline_id: str
    pipeline: Name
    number: int = Field(description="1, 2, 3 ... within the pipeline.")
    version: int = Field(description="Number of the applied document that it follows.")
    state: RunState
    summary: str
    fresh: bool
    verdict: Verdict | None = Field(description="The worst verdict of its gates; null when none has judged.")
    release: str | None = Field(description="The release it made, such as `question-type@4`.")
    changed: bool = Field(description="False: nothing had changed, so nothing was done.")
    causes: list[Cause]
    job_id: str
    error: ErrorBody | None
    created_at: Instant
    created_by: str
    started_at: Instant | None
    finished_at: Instant | None

    @property
    def ref(self) -> str:
        """Reference of the run, such as `question-types#3`."""
        return f"{self.pipeline}#{self.number}"

    @property
    def ended(self) -> bool:
        """Whether it is over, for better or worse."""
        return self.state in RUN_ENDED

    @property
    def exit_code(self) -> int:
        """0: succeeded; 2: a gate could not tell; 1: anything else that ended."""
        if self.state == "succeeded":
            return 0
        return 2 if self.state == "refused" and self.verdict == "inconclusive" else 1


class RunDetail(Run):
    """A run with its steps."""

    steps: list[RunStep]

    def step(self, name: str) -> RunStep | None:
        """Return the step of a name."""
        return next((s for s in self.steps if s.name == name), None)
