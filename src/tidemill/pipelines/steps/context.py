"""What a step of a run works with: the document, earlier outputs, its row, and the jobs of other features."""

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

CacheInputs = dict[str, Any] | None
"""All that decides the outputs of a step; None when they depend on live state, so that no cached result counts."""


def missing_outputs(step: str) -> NothingMeasured:
    """Return the error for an earlier step that has no outputs yet."""
    return NothingMeasured(
        f"The step {step!r} has given nothing to go on with.",
        hint=f"It was skipped. Retry the run from it: tidemill runs retry RUN --step {step}",
        details={"step": step},
    )


@dataclass(frozen=True)
class StepResult:
    """The outputs of a step, and one line about them."""

    outputs: dict[str, Any]
    note: str
    unchanged: bool = False


@dataclass(frozen=True)
class StepInputs:
    """The document and the outputs of earlier steps, which decide what a step does."""

    spec: PipelineSpec
    name: str
    outputs: Mapping[str, dict[str, Any]]
    pipeline_id: str | None = None

    @property
    def subject(self) -> str:
        """What stands after the slash in the step's name: `quality` of `judge/quality`."""
        return self.name.partition("/")[2]

    def outputs_of(self, step: str) -> dict[str, Any]:
        """Return the outputs of an earlier step. Raises NothingMeasured."""
        outputs = self.outputs.get(step)
        if not outputs:
            raise missing_outputs(step)
        return outputs

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
        return str(self.outputs_of("prompt")["version_id"]) if self.spec.prompt is not None else None

    @property
    def training_data(self) -> dict[str, Any]:
        """The dataset version to train on: with the feedback from production, if that is asked for."""
        with_feedback = self.spec.data is not None and self.spec.data.feedback is not None
        return self.outputs_of("join" if with_feedback else "data")


@dataclass(frozen=True)
class StepContext(StepInputs):
    """A running step: its inputs, its job and its row."""

    job: JobContext | None = None
    run: Run | None = None
    step: RunStep | None = None

    @property
    def job_context(self) -> JobContext:
        """The job that carries out the run."""
        assert self.job is not None
        return self.job

    @property
    def kernel(self) -> Kernel:
        """Return the kernel of the job."""
        return self.job_context.kernel

    @property
    def row(self) -> RunStep:
        """The step's row as it was when the step began."""
        assert self.step is not None
        return self.step

    @property
    def starts_now(self) -> bool:
        """Whether the step begins now; else it was begun before a crash or a restart, and what is done it has done."""
        return self.row.state == "pending"

    @property
    def run_ref(self) -> str:
        """Reference of the run, such as `question-types#3`."""
        assert self.run is not None
        return self.run.ref

    def run_child_job(self, submit: Callable[[Context], str | None]) -> Job | None:
        """Submit a job once in the life of this step, wait for it, and return it.

        `submit` returns the job's id, or None when there is nothing to do. The job and the note of it are one
        transaction, so a crash neither loses nor doubles it. Raises what the job failed with.
        """
        with self.job_context.write() as ctx:
            job_id = store.step_by_id(ctx.conn, self.row.id).job_id
            if job_id is None:
                job_id = submit(ctx)
                if job_id is None:
                    return None
                store.update_step(ctx.conn, self.row.id, job_id=job_id)
        job = self.job_context.wait_job(job_id, watch=self._progress_watcher())
        if job.state == "succeeded":
            return job
        if job.error is not None:
            raise of_body(job.error)
        raise StepFailed(f"{job.kind} {job.id} was {job.state}.", hint=f"tidemill runs retry {self.run_ref}")

    def _progress_watcher(self) -> Callable[[Job], None]:
        next_report, last = 0.0, ""

        def report(job: Job) -> None:
            nonlocal next_report, last
            text = _progress(job)
            if text != last and time.monotonic() >= next_report:
                next_report, last = time.monotonic() + NOTE_SECONDS, text
                self.report_progress(text)

        return report

    def report_progress(self, text: str) -> None:
        """Write the step's progress."""
        self.job_context.progress(message=f"{self.name}: {text}")
        with self.job_context.write() as ctx:
            store.update_step(ctx.conn, self.row.id, progress=text)

    def set_waiting(self, text: str) -> None:
        """Mark the step and the run as waiting for a person."""
        self.job_context.progress(message=f"{self.name}: {text}")
        with self.job_context.write() as ctx:
            store.update_step(ctx.conn, self.row.id, state="waiting", progress=text)
            store.update_run(ctx.conn, self.row.run_id, state="waiting", summary=text)
            events.emit(ctx, "pipeline_run.waiting", self.row.run_id, {"run": self.run_ref, "for": text})

    def set_running(self, text: str | None) -> None:
        """Mark the step and the run as running."""
        with self.job_context.write() as ctx:
            store.update_step(ctx.conn, self.row.id, state="running", progress=text)
            store.update_run(ctx.conn, self.row.run_id, state="running", summary="")


def _progress(job: Job) -> str:
    progress = job.progress
    if job.state == "queued":
        return f"{job.kind} waits for a free slot"
    if progress is None:
        return f"{job.kind} runs"
    total = f"/{progress.total:g}" if progress.total is not None else ""
    share = f" {progress.done:g}{total}" if progress.done is not None else ""
    return f"{progress.message or job.kind}{share}"
