"""Runs jobs in this process: takes queued rows, gives each a thread, records the end, takes over from the dead.

The row in `jobs` says who runs a job; the step log says how far it has come. A process that runs jobs is a row in
`job_workers`. Another process declares it dead when its process is gone (same machine) or its heartbeat stands still
(another machine), and puts its jobs back into the queue. A process that was wrongly declared dead, for instance after
a laptop's sleep, notices at the next step that it no longer holds the job, and leaves it.
"""

import logging
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import sqlalchemy as sa

from tidemill.core import events
from tidemill.core.background import OUTAGE_S
from tidemill.core.changes import Pace
from tidemill.core.errors import ErrorBody, TidemillError
from tidemill.core.kernel import Context, Kernel
from tidemill.core.machine import this_machine
from tidemill.core.wire import new_id, utc_now
from tidemill.jobs import store
from tidemill.jobs.compute import Compute, ComputeMissing
from tidemill.jobs.context import JobContext, failure_body, traceback_note
from tidemill.jobs.durable import DbosLog, StepLog
from tidemill.jobs.json_values import bounded_json
from tidemill.jobs.kinds import JobKind
from tidemill.jobs.log_buffer import PendingNotes
from tidemill.jobs.running_job import RunningJob, Slots
from tidemill.jobs.types import Job, JobCancelled, JobKeepsCrashing, JobState, JobSuspended
from tidemill.jobs.wrapper import process_stamp

logger = logging.getLogger(__name__)

LIGHT_JOBS = 16
"""How many jobs that are not heavy run at once in one process."""

TICK_SECONDS = 1.0
"""How often to look, at most, because something was committed. Who submits a job here says so, and is not kept."""

FLUSH_SECONDS = 0.25
BEAT_SECONDS = 3.0
SEARCH_SECONDS = 5.0

REST_SECONDS = 30.0
"""How long after the last job the step log is closed; the next job opens it again."""

DEAD_SECONDS = 20.0
"""How long a heartbeat on another machine may stand still."""

START_LIMIT = 25
"""How often a job is started in one attempt before it is blamed for the crashes."""


class Runner:
    """The jobs of this process."""

    def __init__(self, kernel: Kernel, compute: Compute, kinds: Mapping[str, JobKind]) -> None:
        self.kernel = kernel
        self.compute = compute
        self.kinds = kinds
        self.worker = store.Worker(
            id=new_id("wrk"),
            machine=this_machine(),
            pid=os.getpid(),
            stamp=process_stamp(os.getpid()) or "",
            beat=0,
        )
        self.log: StepLog = DbosLog(kernel.db, kernel.settings.home, self.worker.id)
        self.slots = Slots(kernel.settings.jobs_concurrency, LIGHT_JOBS)
        self.active: dict[str, RunningJob] = {}
        self.stopping = threading.Event()
        self._pace = Pace(kernel.db.changes, TICK_SECONDS)
        self._busy = threading.Event()
        """Set while there are jobs, whose lines and progress are to be stored."""
        self._lock = threading.Lock()
        self._active_at = time.monotonic()
        self._seen: dict[str, tuple[int, float]] = {}
        self._threads = [
            threading.Thread(target=self._dispatch, name="tidemill-jobs", daemon=True),
            threading.Thread(target=self._write_notes, name="tidemill-jobs-notes", daemon=True),
        ]

    def start(self) -> None:
        """Register this process as a worker and start its threads."""
        try:
            with self.kernel.db.begin() as conn:
                store.register(conn, self.worker, utc_now())
            self._start_log()
        except BaseException:
            self._pace.close()  # nobody waits on it, and commits would go on telling it
            raise
        for thread in self._threads:
            thread.start()
        self.kernel.loops["jobs"] = lambda: all(thread.is_alive() for thread in self._threads)

    def _start_log(self) -> None:
        try:
            self.log.start(self._run)
        except BaseException:
            with self.kernel.db.begin() as conn:
                store.remove_worker(conn, self.worker.id)
            raise

    def wake(self) -> None:
        """Look for queued jobs now instead of at the next tick."""
        self._pace.wake()

    def stop(self, grace: float) -> bool:
        """Leave every job at its next step; False when one was still in a step after `grace` seconds."""
        self.stopping.set()
        self._pace.close()
        self._busy.set()
        for running in list(self.active.values()):
            running.wake_event.set()
        deadline = time.monotonic() + grace
        while self.active and time.monotonic() < deadline:
            time.sleep(0.01)
        for thread in self._threads:
            thread.join(timeout=grace + 5.0)
        unfinished = set(self.active)
        with self.kernel.db.begin() as conn:
            if not unfinished:
                store.requeue_unstarted(conn, self.worker.id)
                store.remove_worker(conn, self.worker.id)
        self.log.stop()
        return not unfinished

    # ------------------------------------------------------------------ dispatch

    def _dispatch(self) -> None:
        due_beat = due_search = 0.0
        rest = SEARCH_SECONDS if self.kernel.db.is_sqlite else min(BEAT_SECONDS, SEARCH_SECONDS)
        while not self.stopping.is_set():
            now = time.monotonic()
            try:
                if now >= due_beat:
                    self._beat()
                    due_beat = now + BEAT_SECONDS
                if now >= due_search:
                    self._take_over()
                    due_search = now + SEARCH_SECONDS
                self._wake_waiting()
                self._claim_jobs(heavy=False)
                self._claim_jobs(heavy=True)
                self._rest_log()
            except TidemillError as error:
                logger.warning("Jobs pause: %s", error)
            except Exception:  # whatever it is, the jobs of this server need this thread
                logger.exception("Jobs pause")
                self.stopping.wait(OUTAGE_S)
            self._pace.wait(TICK_SECONDS if self.active else rest)

    def _beat(self) -> None:
        if self.kernel.db.is_sqlite:  # one machine: a look at the process list tells more than a heartbeat
            return
        with self.kernel.db.begin() as conn:
            if not store.record_heartbeat(conn, self.worker.id):
                logger.warning("Another server took this one for dead; its jobs go on there.")
                store.register(conn, self.worker, utc_now())

    def _take_over(self) -> None:
        with self.kernel.db.read() as conn:
            workers = store.list_workers(conn)
            mine = store.list_running(conn, self.worker.id)
        for worker in workers:
            if worker.id != self.worker.id and self._is_dead(worker):
                with self.kernel.db.begin() as conn:
                    ids = store.release(conn, worker.id) if store.remove_worker(conn, worker.id) else []
                self.log.forget(worker.id)
                self._seen.pop(worker.id, None)
                if ids:
                    logger.info("Took over %d job(s) from a dead process: %s", len(ids), ", ".join(ids))
        with self._lock:
            orphans = [job_id for job_id in mine if job_id not in self.active]
        if orphans:
            with self.kernel.db.begin() as conn:
                store.release(conn, self.worker.id, orphans)

    def _is_dead(self, worker: store.Worker) -> bool:
        if worker.machine == self.worker.machine:
            return process_stamp(worker.pid) != worker.stamp
        if self.kernel.db.is_sqlite:  # the same machine before its last start
            return True
        beat, since = self._seen.get(worker.id, (None, 0.0))
        if beat != worker.beat:
            self._seen[worker.id] = (worker.beat, time.monotonic())
            return False
        return time.monotonic() - since > DEAD_SECONDS

    def _wake_waiting(self) -> None:
        active = list(self.active.values())
        if not active:
            return
        with self.kernel.db.read() as conn:
            to_wake = {job_id for job_id, cancel in store.list_running(conn, self.worker.id).items() if cancel}
            to_wake |= store.list_signalled(conn, [running.claim.id for running in active])
        for running in active:
            if running.claim.id in to_wake:
                running.wake_event.set()

    def _claim_jobs(self, heavy: bool) -> None:
        kinds = [name for name, kind in self.kinds.items() if kind.heavy == heavy]
        free = self.slots.free(heavy)
        if not kinds or free < 1:
            return
        with self.kernel.db.read() as conn:
            if not store.count_queued(conn, kinds):
                return
        self.log.open()
        with self._lock:
            with self.kernel.db.begin() as conn:
                claims = store.claim(conn, kinds, self.worker.id, free, utc_now(), except_ids=list(self.active))
            runs = [
                RunningJob(claim, self.worker.id, heavy, self.log, self.slots, self.stopping, self.kernel, self.compute)
                for claim in claims
            ]
            for running in runs:
                self.slots.enter(heavy)
                self.active[running.claim.id] = running
        self._busy.set()
        self._begin(runs)

    def _rest_log(self) -> None:
        """Let the step log rest when there has been no job for a while: it looks for work several times a second."""
        now = time.monotonic()
        if self.active:
            self._active_at = now
        elif now - self._active_at > REST_SECONDS:
            self.log.rest()

    def _begin(self, runs: list[RunningJob]) -> None:
        for index, running in enumerate(runs):
            try:
                self.log.begin(running.claim.id, again=running.claim.first_of_retry)
            except BaseException:
                for unstarted in runs[index:]:
                    self._remove_active(unstarted)  # the search for orphans puts it back into the queue
                raise

    def _remove_active(self, running: RunningJob) -> None:
        """Remove this run of a job and release its slot, once. A later run of the same job is left alone."""
        with self._lock:
            if self.active.get(running.claim.id) is not running:
                return
            del self.active[running.claim.id]
        self.slots.leave(running.heavy)
        self._pace.wake()

    # ------------------------------------------------------------------ one job

    def _run(self, job_id: str) -> None:
        """The body of every job's thread. Whatever happens, it returns or raises JobSuspended: see `durable`."""
        running = self.active.get(job_id)
        if running is None:
            raise JobSuspended("this process no longer holds the job")
        try:
            state, result, error = self._outcome(running)
            self._finish(running, state, result, error)
        finally:
            self._remove_active(running)

    def _outcome(self, running: RunningJob) -> tuple[JobState, Any, ErrorBody | None]:
        claim = running.claim
        try:
            if claim.starts > START_LIMIT:
                raise JobKeepsCrashing(
                    f"The server died {START_LIMIT} times while the job ran.",
                    hint=f"Look at the memory it needs, then: tidemill jobs retry {claim.id}",
                )
            with self.kernel.db.read() as conn:
                actor = store.get_actor(conn, claim.id)
            job = JobContext(self.kernel, running, actor)
            job.check_cancelled()
            result = bounded_json(self.kinds[claim.kind].run(job, claim.args), claim.kind)
        except JobCancelled:
            return "cancelled", None, None
        except Exception as error:
            if self.stopping.is_set():
                raise JobSuspended("this process stops") from error
            running.log_buffer.add(traceback_note(claim.id, error))
            return "failed", None, failure_body(error, claim.id)
        return "succeeded", result, None

    def _finish(self, running: RunningJob, state: JobState, result: Any, error: ErrorBody | None) -> None:
        """Record the end, however long the database is busy or full: the work itself is done."""
        if state != "succeeded":
            self._end_children(running)
        pause = 0.1
        while True:
            try:
                return self._record_end(running, state, result, error)
            except TidemillError as trouble:
                logger.warning("The end of job %s cannot be recorded yet: %s", running.claim.id, trouble)
            if self.stopping.wait(pause):
                raise JobSuspended("this process stops")
            pause = min(pause * 2, 15.0)

    def _record_end(self, running: RunningJob, state: JobState, result: Any, error: ErrorBody | None) -> None:
        job_id = running.claim.id
        with self.kernel.db.read() as conn:
            actor = store.get_actor(conn, job_id)
        with running.log_buffer.taken() as notes, self.kernel.write(actor) as ctx:
            values: dict[str, Any] = {
                "state": state,
                "result": result,
                "error": error.model_dump(mode="json") if error else None,
                "waiting_for": None,
                "finished_at": utc_now(),
            }
            _write(ctx.conn, running, notes)
            if not store.update(ctx.conn, job_id, executor=self.worker.id, **values):
                raise JobSuspended("another process has the job")
            job = store.get(ctx.conn, job_id)
            assert job is not None
            code = {"code": error.code} if error else {}
            events.emit(ctx, f"job.{state}", job_id, {"kind": job.kind, "subject": job.subject} | code)
            self._call_ended_hook(ctx, job)

    def _call_ended_hook(self, ctx: Context, job: Job) -> None:
        ended = self.kinds[job.kind].ended
        if ended is None:
            return
        try:
            with ctx.conn.begin_nested():
                ended(ctx, job)
        except Exception as error:
            logger.exception("The hook for the end of job %s failed", job.id)
            store.add_lines(ctx.conn, [traceback_note(job.id, error)])

    def _end_children(self, running: RunningJob) -> None:
        for child in running.claim.children:
            with suppress(ComputeMissing):
                self.compute.cancel(child)

    # ------------------------------------------------------------------ notes

    def _write_notes(self) -> None:
        while not self.stopping.wait(FLUSH_SECONDS):
            if not self.active:
                self._busy.clear()
                if not self.active and not self.stopping.is_set():
                    self._busy.wait()
            for running in list(self.active.values()):
                try:
                    self._flush(running)
                except TidemillError as error:
                    logger.warning("The notes of job %s wait: %s", running.claim.id, error)
                except Exception:  # the notes of other jobs need this thread
                    logger.exception("The notes of job %s wait", running.claim.id)
                    self.stopping.wait(OUTAGE_S)

    def _flush(self, running: RunningJob) -> None:
        if running.log_buffer.empty:
            return
        with running.log_buffer.taken() as notes, self.kernel.db.begin() as conn:
            _write(conn, running, notes)


def _write(conn: sa.Connection, running: RunningJob, notes: PendingNotes) -> None:
    store.add_lines(conn, notes.lines)
    if notes.progress is not None:
        values = {"progress": notes.progress.model_dump(mode="json")}
        store.update(conn, running.claim.id, executor=running.executor, **values)
