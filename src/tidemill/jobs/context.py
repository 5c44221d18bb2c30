"""The interface of a running job: steps that run once, progress, log, cancellation and child processes."""

import logging
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tidemill.core.actors import Actor
from tidemill.core.errors import ErrorBody, TidemillError, Unavailable, rebuild
from tidemill.core.kernel import Context, Kernel
from tidemill.core.text import storable, storable_value
from tidemill.core.wire import utc_now
from tidemill.jobs import store
from tidemill.jobs.compute import ComputeStatus, Resources
from tidemill.jobs.durable import AGAIN_FROM
from tidemill.jobs.json_values import bounded_json, json_value
from tidemill.jobs.running_job import RunningJob
from tidemill.jobs.types import (
    Job,
    JobCancelled,
    JobFailed,
    JobInterrupted,
    JobNotFound,
    JobProcessFailed,
    JobSuspended,
    LogLevel,
    Progress,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

CALM_SECONDS = 30.0
"""After waiting so long without a crash, the starts of a job are counted anew."""

JOB_POLL_SECONDS = 0.5
"""How often a job that waits for another one looks at it; a signal wakes it earlier."""

LOST_LIMIT = 5
"""How often a process that vanished without an exit code is started again."""


def failure_body(error: Exception, job_id: str) -> ErrorBody:
    """Return the error as the API shows it, without a traceback."""
    if isinstance(error, TidemillError):
        body = error.body()
        return ErrorBody.model_validate(storable_value(body.model_dump()))
    return JobFailed(
        storable(f"{type(error).__name__}: {error}".strip().removesuffix(":")),
        hint=f"The whole traceback is in the job's log: tidemill jobs logs {job_id}",
    ).body()


class JobContext:
    """One run of a job. Its methods are for the thread that runs the job's function."""

    def __init__(self, kernel: Kernel, running: RunningJob, actor: Actor) -> None:
        self.id = running.claim.id
        self.kernel = kernel
        self.actor = actor
        self.attempt = running.claim.attempt
        self._running = running
        self._steps = 0

    def step(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        """Do `function(*args)` once and return its result as plain JSON.

        A step that has finished is not done again: after a crash its recorded result is returned, or its error raised
        again. A step that was interrupted is done again from its start, so it must bear that. Steps must come in
        the same order with the same names each time; what happens between them must depend on their results only.
        """
        self.check_cancelled()
        self._steps += 1
        caught: list[Exception] = []

        def run() -> dict[str, Any]:
            try:
                return {"value": bounded_json(function(*args), name)}
            except Exception as error:
                if self._running.stopping.is_set():  # the process shuts down around it: do it again later
                    raise JobSuspended(f"stopped in step {name}") from error
                caught.append(error)
                status = error.status if isinstance(error, TidemillError) else JobFailed.status
                return {"error": failure_body(error, self.id).model_dump(mode="json"), "status": status}

        outcome = self._running.log.step(name, run)
        if "error" in outcome:
            raise caught[0] if caught else rebuild(outcome["status"], ErrorBody(**outcome["error"]))
        return outcome["value"]

    @contextmanager
    def together(self, name: str) -> Iterator[None]:
        """Steps that stand or fall as one: when the block raises, a retry of the job does all of them again.

        For a judgement of what several steps made: they all ended well, and yet doing only the last again would judge
        the same things again.
        """
        first = self._steps + 1
        try:
            yield
        except Exception:
            self.check_cancelled()
            self._steps += 1
            self._running.log.step(f"{name} failed", lambda: {"value": None, AGAIN_FROM: first})
            raise

    def progress(
        self,
        done: float | None = None,
        total: float | None = None,
        message: str | None = None,
        *,
        unit: str | None = None,
        **figures: Any,
    ) -> None:
        """Report progress, in `unit` such as "rows". Cheap: written four times a second at most, the newest last."""
        self._running.log_buffer.progress = Progress(
            done=done,
            total=total,
            message=None if message is None else storable(message),
            unit=unit,
            figures=json_value(figures),
            at=utc_now(),
        )

    def log(self, message: str, *, level: LogLevel = "info", **data: Any) -> None:
        """Add a line to the job's log."""
        self._running.log_buffer.add(
            store.Note(
                job_id=self.id, at=utc_now(), level=level, message=storable(message), data=json_value(data) or None
            )
        )

    def check_cancelled(self) -> None:
        """Leave the job here when somebody asked for its end, or this process stops or no longer holds it.

        It raises what no `except Exception` catches; clean up in `finally`. Every step begins with this check.
        """
        if self._running.stopping.is_set():
            raise JobSuspended("this process stops")
        with self.kernel.db.read() as conn:
            ownership = store.get_ownership(conn, self.id)
        if ownership is None or ownership.executor != self._running.executor or ownership.state != "running":
            raise JobSuspended("another process has the job")
        if ownership.cancel_requested:
            raise JobCancelled(self.id)

    def sleep(self, seconds: float) -> None:
        """Wait, but no longer than until the job is cancelled or suspended (which this raises)."""
        until = time.monotonic() + seconds
        while True:
            self._running.wake_event.clear()
            self.check_cancelled()
            rest = until - time.monotonic()
            if rest <= 0 or not self._running.wake_event.wait(rest):
                return

    @contextmanager
    def write(self) -> Iterator[Context]:
        """One writing unit of work as the job's actor: committed at the end, rolled back on any error."""
        with self.kernel.write(self.actor) as ctx:
            yield ctx

    def work(self) -> AbstractContextManager[Context]:
        """Return what `write` returns. Deprecated: 0.1.0 had this name."""
        warnings.warn("job.work() goes in the next release: call job.write()", DeprecationWarning, stacklevel=2)
        return self.write()

    def wait_for(self, topic: str, timeout: float | None = None) -> Any:
        """Return the payload of the next signal on `topic`; None after `timeout` seconds. It may take days.

        While it waits, the job gives its place to another. See `Jobs.signal`.
        """
        until = None if timeout is None else self.step(f"until {topic}", lambda: time.time() + timeout)
        return self.step(f"wait for {topic}", self._await_signal, topic, until)

    def _await_signal(self, topic: str, until: float | None) -> Any:
        step = str(self._steps)
        with self._running.slot_released():
            self._set_waiting(topic)
            try:
                while True:
                    self._running.wake_event.clear()
                    with self.write() as ctx:
                        signal = store.take_signal(ctx.conn, self.id, topic, step)
                    if signal is not None:
                        return signal[0]
                    rest = 30.0 if until is None else until - time.time()
                    if rest <= 0:
                        return None
                    self.check_cancelled()
                    self._running.wake_event.wait(min(rest, 30.0))
            finally:
                self._set_waiting(None)

    def wait_until(self, topic: str, poll_once: Callable[[], T | None], *, poll: float = 30.0) -> T:
        """Return the first result of `poll_once` that is not None, however long that takes.

        It is no step: what `poll_once` reads is kept elsewhere, so after a crash or an upgrade it is simply read again.
        While it waits, the job gives its place to another. `poll_once` is called every `poll` seconds, and at once
        after a signal on `topic`. A database that goes away meanwhile is waited for too.
        """
        result = poll_once()
        if result is not None:
            return result
        with self._running.slot_released():
            self._set_waiting(topic)
            try:
                while (result := self._poll_again(topic, poll_once)) is None:
                    if not self._running.wake_event.wait(poll) and poll >= CALM_SECONDS:
                        self._count_starts_anew()
            finally:
                self._wait_no_longer()
        return result

    def _poll_again(self, topic: str, poll_once: Callable[[], T | None]) -> T | None:
        self._running.wake_event.clear()
        try:
            with self.write() as ctx:
                store.clear_signals(ctx.conn, self.id, topic)
            result = poll_once()
            if result is None:
                self.check_cancelled()
        except Unavailable as trouble:
            logger.warning("Job %s goes on waiting for %s: %s", self.id, topic, trouble)
            return None
        return result

    def _count_starts_anew(self) -> None:
        """Forget earlier starts: crashes while a job waits for a person do not count against it."""
        if self._running.claim.starts <= 1:
            return
        try:
            with self.write() as ctx:
                store.update(ctx.conn, self.id, executor=self._running.executor, starts=1)
        except Unavailable as trouble:  # after the next wait, then
            logger.warning("The starts of job %s are not counted anew yet: %s", self.id, trouble)
            return
        self._running.claim = self._running.claim.model_copy(update={"starts": 1})

    def _wait_no_longer(self) -> None:
        try:
            self._set_waiting(None)
        except Unavailable as trouble:  # it is cleared when the job ends, too
            logger.warning("Job %s is shown as waiting: %s", self.id, trouble)

    def wait_job(self, job_id: str, watch: Callable[[Job], None] | None = None) -> Job:
        """Return the job `job_id` once it has ended, whatever its state. `watch` gets the job at each poll.

        Like `wait_until` it is no step and gives way, so that one place is enough for this job and that one.
        """

        def find_ended() -> Job | None:
            with self.kernel.read(self.actor) as ctx:
                job = store.get(ctx.conn, job_id)
            if job is None:
                raise JobNotFound(f"There is no job {job_id!r}.", hint="`tidemill jobs list` shows all.")
            if watch is not None:
                watch(job)
            return job if job.ended else None

        return self.wait_until(job_id, find_ended, poll=JOB_POLL_SECONDS)

    def _set_waiting(self, topic: str | None) -> None:
        with self.write() as ctx:
            store.update(ctx.conn, self.id, executor=self._running.executor, waiting_for=topic)

    def run_process(
        self,
        name: str,
        argv: Sequence[str],
        workdir: Path,
        *,
        env: Mapping[str, str] | None = None,
        resources: Resources | None = None,
        watch: Callable[[str], None] | None = None,
        poll: float = 0.5,
    ) -> dict[str, Any]:
        """Run a command through the kernel's `Compute`, as one step, and return its status.

        The process survives this one: after a restart the step finds it again, at work or ended. `watch` is given its
        output as it comes, from the beginning again after a restart. Cancelling the job ends the process. One that
        vanished, as after a reboot, is started again, so it should resume from its own checkpoints. Raises
        JobProcessFailed when it ends with another code than 0.
        """
        child = f"{self.id}.{name}" if self.attempt == 1 else f"{self.id}.{name}.{self.attempt}"

        def start() -> ComputeStatus:
            return self._running.compute.submit(child, argv, workdir, env, resources)

        return dict(self.step(f"run {name}", self._follow, child, start, watch, poll))

    def _follow(
        self,
        child: str,
        start: Callable[[], ComputeStatus],
        watch: Callable[[str], None] | None,
        poll: float,
    ) -> ComputeStatus:
        self._running.adopt_child(child)
        status, offset, lost = start(), 0, 0
        while True:
            # The status first: what an ended process wrote is all there by then.
            status = self._running.compute.status(child)
            while watch is not None:
                chunk = self._running.compute.logs(child, offset)
                if chunk.next_offset == offset:
                    break
                watch(chunk.text)
                offset = chunk.next_offset
            if status.state == "lost" and lost < LOST_LIMIT:
                lost += 1
                self.log(
                    f"The process {child} vanished without an exit code; it is started again.",
                    level="warning",
                )
                status = start()
            elif status.ended:
                break
            self._sleep_beside(child, poll)
        if status.state != "succeeded":
            raise self._process_failed(child, status)
        return status

    def _sleep_beside(self, child: str, seconds: float) -> None:
        try:
            self.sleep(seconds)
        except JobSuspended:
            if self.kernel.pause_processes:
                self._running.compute.pause(child)
            raise

    def _process_failed(self, child: str, status: ComputeStatus) -> JobProcessFailed:
        text, offset = "", 0
        while (chunk := self._running.compute.logs(child, offset)).next_offset > offset:
            text, offset = (text + chunk.text)[-4000:], chunk.next_offset
        last = text.strip().splitlines()[-20:]
        for line in last:
            self.log(line, level="error")
        killed = status.exit_code == -9
        return JobProcessFailed(
            f"The process {child} {status.state} with exit code {status.exit_code}"
            + (f": {last[-1][:300]}" if last else "."),
            hint="It was killed, most likely for want of memory: use less and retry."
            if killed
            else f"See its last lines: tidemill jobs logs {self.id}",
            details={"exit_code": status.exit_code, "state": status.state},
        )


def traceback_note(job_id: str, error: Exception) -> store.Note:
    """Return the traceback of a failure as a line for the job's log."""
    text = storable("".join(traceback.format_exception(error)))
    return store.Note(job_id=job_id, at=utc_now(), level="error", message=text, data=None)


__all__ = ["JobContext", "JobInterrupted", "failure_body", "traceback_note"]
