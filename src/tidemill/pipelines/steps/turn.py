"""One step at work: what it may read, and how it has other features' jobs done."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.core import events
from tidemill.core.errors import of_body
from tidemill.core.kernel import Context, Kernel
from tidemill.jobs.context import JobContext
from tidemill.jobs.types import Job
from tidemill.pipelines import store
from tidemill.pipelines.types import (
    EnvironmentSection,
    EvalSection,
    GateSection,
    NothingMeasured,
    PipelineSpec,
    Run,
    RunStep,
    StepFailed,
)

NOTE_SECONDS = 1.0
"""How often the progress of a step is written down."""

Reads = dict[str, Any] | None
"""All that decides what a step makes; None: the state of things does, so it is looked at each time."""


def not_known(step: str) -> NothingMeasured:
    """What an earlier step makes is not there (yet)."""
    return NothingMeasured(
        f"The step {step!r} has given nothing to go on with.",
        hint=f"It was skipped. Retry the run from it: tidemill runs retry RUN --step {step}",
        details={"step": step},
    )


@dataclass(frozen=True)
class Outcome:
    """What a step has made."""

    outputs: dict[str, Any]
    note: str
    unchanged: bool = False


@dataclass(frozen=True)
class Facts:
    """The document, and what the steps before have given."""

    spec: PipelineSpec
    name: str
    given: Mapping[str, dict[str, Any]]
    pipeline_id: str | None = None

    @property
    def subject(self) -> str:
        """What stands after the slash in the step's name: `quality` of `judge/quality`."""
        return self.name.partition("/")[2]

    def of(self, step: str) -> dict[str, Any]:
        """What an earlier step gave. Raises NothingMeasured."""
        found = self.given.get(step)
        if not found:
            raise not_known(step)
        return found

    @property
    def eval(self) -> EvalSection:
        """The eval set that the step is about."""
        return next(e for e in self.spec.evals if e.name == self.subject)

    @property
    def gate(self) -> GateSection:
        """The gate that the step is about."""
        return next(g for g in self.spec.gates if g.name == self.subject)

    @property
    def environment(self) -> EnvironmentSection:
        """The environment that the step is about."""
        return next(e for e in self.spec.environments if e.name == self.subject)

    @property
    def prompt_id(self) -> str | None:
        """The prompt version, when there is one."""
        return str(self.of("prompt")["version_id"]) if self.spec.prompt is not None else None

    @property
    def training_data(self) -> dict[str, Any]:
        """The dataset version to train on: with the feedback from production, if that is asked for."""
        wanted = self.spec.data is not None and self.spec.data.feedback is not None
        return self.of("join" if wanted else "data")


@dataclass(frozen=True)
class Turn(Facts):
    """A step at work in a run."""

    job: JobContext | None = None
    run: Run | None = None
    step: RunStep | None = None

    @property
    def at(self) -> JobContext:
        """The job that carries out the run."""
        assert self.job is not None
        return self.job

    @property
    def kernel(self) -> Kernel:
        """The kernel."""
        return self.at.kernel

    @property
    def row(self) -> RunStep:
        """The step's row as it was when the step began."""
        assert self.step is not None
        return self.step

    @property
    def begins(self) -> bool:
        """Whether the step begins now; else it was begun before a crash or a restart, and what is done it has done."""
        return self.row.state == "pending"

    @property
    def run_ref(self) -> str:
        """Such as `question-types#3`."""
        assert self.run is not None
        return self.run.ref

    def child(self, submit: Callable[[Context], str | None]) -> Job | None:
        """Have a job done: submitted once in the life of this step, then waited for.

        `submit` returns the job's id, or None when there is nothing to do. The job and the note of it are one
        transaction, so a crash neither loses nor doubles it. Raises what the job failed with.
        """
        with self.at.write() as ctx:
            job_id = store.step_by_id(ctx.conn, self.row.id).job_id
            if job_id is None:
                job_id = submit(ctx)
                if job_id is None:
                    return None
                store.update_step(ctx.conn, self.row.id, job_id=job_id)
        job = self.at.wait_job(job_id, watch=self._teller())
        if job.state == "succeeded":
            return job
        if job.error is not None:
            raise of_body(job.error)
        raise StepFailed(f"{job.kind} {job.id} was {job.state}.", hint=f"tidemill runs retry {self.run_ref}")

    def _teller(self) -> Callable[[Job], None]:
        due, last = 0.0, ""

        def tell(job: Job) -> None:
            nonlocal due, last
            text = _progress(job)
            if text != last and time.monotonic() >= due:
                due, last = time.monotonic() + NOTE_SECONDS, text
                self.tell(text)

        return tell

    def tell(self, text: str) -> None:
        """Say how far the step has come."""
        self.at.progress(message=f"{self.name}: {text}")
        with self.at.write() as ctx:
            store.update_step(ctx.conn, self.row.id, progress=text)

    def waiting(self, text: str) -> None:
        """Say that the step waits for a person."""
        self.at.progress(message=f"{self.name}: {text}")
        with self.at.write() as ctx:
            store.update_step(ctx.conn, self.row.id, state="waiting", progress=text)
            store.update_run(ctx.conn, self.row.run_id, state="waiting", summary=text)
            events.emit(ctx, "pipeline_run.waiting", self.row.run_id, {"run": self.run_ref, "for": text})

    def working(self) -> None:
        """Say that it waits no longer."""
        self.going(None)

    def going(self, text: str | None) -> None:
        """Say how far it has come, and that it waits for nobody."""
        with self.at.write() as ctx:
            store.update_step(ctx.conn, self.row.id, state="running", progress=text)
            store.update_run(ctx.conn, self.row.run_id, state="running", summary="")


def _progress(job: Job) -> str:
    progress = job.progress
    if job.state == "queued":
        return f"{job.kind} waits for a place"
    if progress is None:
        return f"{job.kind} runs"
    total = f"/{progress.total:g}" if progress.total is not None else ""
    share = f" {progress.done:g}{total}" if progress.done is not None else ""
    return f"{progress.message or job.kind}{share}"
