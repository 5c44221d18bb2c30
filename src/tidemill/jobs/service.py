"""Jobs as features see them: submit, look, cancel, retry, signal. A runner in the server process does the work."""

import builtins
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tidemill.core import events, removals
from tidemill.core.db import Database
from tidemill.core.errors import nearest
from tidemill.core.kernel import Context, Kernel
from tidemill.core.wire import Page, content_hash, new_id
from tidemill.jobs import store
from tidemill.jobs.compute import Compute
from tidemill.jobs.json_values import json_value
from tidemill.jobs.kinds import JobFunction, JobKind
from tidemill.jobs.runner import Runner
from tidemill.jobs.types import (
    Job,
    JobEnded,
    JobFilesRemoved,
    JobKeyReused,
    JobKindUnknown,
    JobLog,
    JobNotEnded,
    JobNotFound,
    JobState,
    LiveJob,
)

logger = logging.getLogger(__name__)


class JobQueue:
    """The durable jobs of one Tidemill. Submitting works everywhere; running only after `start`."""

    def __init__(
        self, db: Database, compute: Compute, kinds: Mapping[str, JobKind | JobFunction] | None = None
    ) -> None:
        self.db = db
        self.compute = compute
        self.kinds = {
            name: kind if isinstance(kind, JobKind) else JobKind(run=kind) for name, kind in (kinds or {}).items()
        }
        self._runner: Runner | None = None

    def start(self, kernel: Kernel) -> None:
        """Run jobs in this process: first those that a dead process left, then whatever is submitted."""
        if self._runner is None:
            runner = Runner(kernel, self.compute, self.kinds)
            runner.start()
            self._runner = runner

    def stop(self, grace: float = 10.0) -> bool:
        """Leave all jobs at their next step within `grace` seconds; they go on at the next start.

        False when one was in the middle of a longer step. It is taken up again once this process has ended.
        """
        runner, self._runner = self._runner, None
        return runner.stop(grace) if runner is not None else True

    @property
    def running(self) -> bool:
        """Return whether this process runs jobs."""
        return self._runner is not None

    def count_by_state(self, ctx: Context) -> dict[str, int]:
        """Return the number of jobs in each state that any is in."""
        return store.count_by_state(ctx.conn)

    def wake(self) -> None:
        """Let the runner look for queued jobs now."""
        if self._runner is not None:
            self._runner.wake()

    def submit(
        self,
        ctx: Context,
        kind: str,
        args: Mapping[str, Any],
        *,
        subject: str | None = None,
        key: str | None = None,
    ) -> Job:
        """Ask for work. It happens exactly if the caller's transaction is committed.

        With `key`, a second call of this kind and these arguments returns the job of the first. Raises JobKindUnknown,
        and JobKeyReused when the arguments differ.
        """
        if kind not in self.kinds:
            suggestions = nearest(kind, sorted(self.kinds))
            raise JobKindUnknown(
                f"There is no job of the kind {kind!r}.",
                hint=f"Did you mean {' or '.join(suggestions)}?" if suggestions else None,
                param="kind",
            )
        job = Job(
            id=new_id("job"),
            kind=kind,
            state="queued",
            subject=subject,
            args=json_value(dict(args)),
            key=key,
            attempt=1,
            progress=None,
            waiting_for=None,
            cancel_requested=False,
            error=None,
            result=None,
            actor_id=ctx.actor.id,
            actor_name=ctx.actor.name,
            created_at=ctx.now,
            started_at=None,
            finished_at=None,
        )
        if not store.insert(ctx.conn, job, ctx.actor):
            assert key is not None
            return self._same(ctx, job, key)
        ctx.once_committed(self.wake)
        return job

    def _same(self, ctx: Context, job: Job, key: str) -> Job:
        first = store.by_key(ctx.conn, job.kind, key)
        assert first is not None
        if content_hash(first.args) != content_hash(job.args):
            raise JobKeyReused(
                f"The key {key!r} was used for {first.id} with other arguments.",
                hint="Use a new key for other work.",
                param="key",
            )
        return first

    def get(self, ctx: Context, job_id: str) -> Job:
        """Return the job of an id. Raises JobNotFound."""
        job = store.get(ctx.conn, job_id)
        if job is None:
            raise JobNotFound(f"There is no job {job_id!r}.", hint="`tidemill jobs list` shows all.")
        return (
            job
            if job.state != "queued"
            else job.model_copy(update={"queued_behind": _list_before(ctx, job, self.kinds)})
        )

    def list(
        self,
        ctx: Context,
        *,
        kind: str | None = None,
        state: JobState | None = None,
        subject: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Job]:
        """Return a page of jobs, newest first."""
        jobs = store.list_jobs(ctx.conn, kind=kind, state=state, subject=subject, before=cursor, limit=limit + 1)
        more = len(jobs) > limit
        return Page(items=jobs[:limit], next_cursor=jobs[limit - 1].id if more else None)

    def cancel(self, ctx: Context, job_id: str) -> Job:
        """Ask for the end of a job. One that never ran ends here; a running one at its next check. Raises JobEnded."""
        job = self.get(ctx, job_id)
        ended = job.ended or not (
            store.cancel_unstarted(ctx.conn, job_id, ctx.now)
            or store.change_state(ctx.conn, job_id, ("queued", "running"), cancel_requested=True)
        )
        if ended:
            raise JobEnded(f"The job {job_id} has already ended: {self.get(ctx, job_id).state}.")
        events.emit(ctx, "job.cancel_requested", job_id, {"kind": job.kind, "subject": job.subject})
        job = self.get(ctx, job_id)
        kind = self.kinds.get(job.kind)
        if job.ended and kind is not None and kind.ended is not None:
            kind.ended(ctx, job)
        ctx.once_committed(self.wake)
        return job

    def retry(self, ctx: Context, job_id: str) -> Job:
        """Run a failed or cancelled job again, from the step that failed. Raises JobNotEnded."""
        job = self.get(ctx, job_id)
        retried = store.change_state(
            ctx.conn,
            job_id,
            ("failed", "cancelled"),
            state="queued",
            attempt=store.jobs.c.attempt + 1,
            starts=0,
            executor=None,
            cancel_requested=False,
            waiting_for=None,
            error=None,
            result=None,
            finished_at=None,
        )
        if not retried:
            raise JobNotEnded(
                f"The job {job_id} is {self.get(ctx, job_id).state}.",
                hint="Only a failed or cancelled job can be retried.",
            )
        # After the change, whose lock on the row orders this and a removal that looks at the row's state.
        removal = removals.find_by_owner(ctx.conn, [job_id, *([job.subject] if job.subject else [])])
        if removal is not None:
            raise JobFilesRemoved(
                f"The files of {job_id} were removed on {removal.scheduled_at:%Y-%m-%d}: {removal.reason}",
                hint="Submit the work anew.",
            )
        events.emit(ctx, "job.retried", job_id, {"kind": job.kind, "subject": job.subject})
        ctx.once_committed(self.wake)
        return self.get(ctx, job_id)

    def list_live(self, ctx: Context, ended_after: datetime) -> builtins.list[LiveJob]:
        """Return the jobs that have not ended, and those that ended without success after a moment, oldest first."""
        return store.list_live(ctx.conn, ended_after)

    def lock_ended(self, ctx: Context, owner: str, ended_before: datetime) -> bool:
        """Hold the jobs with this id or subject as they are until the transaction ends.

        Return False when one of them may still need its files: it has not ended, or did so later, without success.
        """
        return store.lock_ended(ctx.conn, owner, ended_before)

    def signal(self, ctx: Context, job_id: str, topic: str, payload: Any = None) -> None:
        """Tell a job something it waits for, or will. Raises JobEnded."""
        job = self.get(ctx, job_id)
        if job.ended:
            raise JobEnded(f"The job {job_id} has ended ({job.state}), so a signal comes too late.")
        store.insert_signal(
            ctx.conn, signal_id=new_id("sig"), job_id=job_id, topic=topic, payload=json_value(payload), now=ctx.now
        )
        ctx.once_committed(self.wake)

    def log(self, ctx: Context, job_id: str, offset: int = 0, limit: int = 500) -> JobLog:
        """Lines of a job's log after `offset`. Raises JobNotFound."""
        self.get(ctx, job_id)
        lines = store.list_lines(ctx.conn, job_id, offset, limit)
        return JobLog(lines=lines, next_offset=lines[-1].id if lines else offset)


def _list_before(ctx: Context, job: Job, kinds: Mapping[str, JobKind]) -> list[str]:
    """Return the ids of the jobs whose end a queued one waits for, at most ten."""
    kind = kinds.get(job.kind)
    alike = [name for name, other in kinds.items() if kind is not None and other.heavy == kind.heavy]
    return store.list_before(ctx.conn, job, alike, limit=10)
