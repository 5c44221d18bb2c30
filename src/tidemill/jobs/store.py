"""Rows of jobs, their logs, their signals and the processes that run them."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from tidemill.core.actors import Actor
from tidemill.core.db import Json, UtcDateTime, metadata, row_values
from tidemill.core.wire import Value
from tidemill.jobs.types import ENDED, Job, JobState, LiveJob, LogLevel, LogLine

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("kind", sa.String(80), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("subject", sa.String(120)),
    sa.Column("key", sa.String(200)),
    sa.Column("args", Json, nullable=False),
    sa.Column("actor", Json, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("starts", sa.Integer, nullable=False),
    sa.Column("executor", sa.String(80)),
    sa.Column("children", Json, nullable=False),
    sa.Column("waiting_for", sa.String(120)),
    sa.Column("cancel_requested", sa.Boolean, nullable=False),
    sa.Column("progress", Json),
    sa.Column("error", Json),
    sa.Column("result", Json),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("started_at", UtcDateTime),
    sa.Column("finished_at", UtcDateTime),
    sa.Index("ix_jobs_state_id", "state", "id"),
    sa.Index("ix_jobs_subject_id", "subject", "id"),
    sa.Index("ix_jobs_executor", "executor"),
    sa.Index("uq_jobs_kind_key", "kind", "key", unique=True),
)

lines = sa.Table(
    "job_lines",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("job_id", sa.String(40), sa.ForeignKey("jobs.id"), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("level", sa.String(16), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("data", Json),
    sa.Index("ix_job_lines_job_id_id", "job_id", "id"),
)

signals = sa.Table(
    "job_signals",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("job_id", sa.String(40), sa.ForeignKey("jobs.id"), nullable=False),
    sa.Column("topic", sa.String(120), nullable=False),
    sa.Column("payload", Json),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("taken_by", sa.String(40)),
    sa.Index("ix_job_signals_job_id_topic", "job_id", "topic"),
)

workers = sa.Table(
    "job_workers",
    metadata,
    sa.Column("id", sa.String(80), primary_key=True),
    sa.Column("machine", sa.String(300), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("stamp", sa.String(120), nullable=False),
    sa.Column("beat", sa.Integer, nullable=False),
    sa.Column("started_at", UtcDateTime, nullable=False),
)

_HIDDEN = ("actor", "starts", "executor", "children")


class Ownership(Value):
    """What the process that runs a job must know of its row."""

    executor: str | None
    state: JobState
    cancel_requested: bool


class Claim(Value):
    """A job that this process has just taken."""

    id: str
    kind: str
    args: dict[str, Any]
    attempt: int
    starts: int
    cancel_requested: bool
    children: list[str]

    @property
    def first_of_retry(self) -> bool:
        """Return whether no process has begun this attempt yet, and one before it has ended."""
        return self.attempt > 1 and self.starts == 1


class Worker(Value):
    """A process that runs jobs."""

    id: str
    machine: str
    pid: int
    stamp: str
    beat: int


class Note(Value):
    """A line to be written."""

    job_id: str
    at: datetime
    level: LogLevel
    message: str
    data: dict[str, Any] | None


def _job(row: sa.Row[Any]) -> Job:
    values = row_values(row)
    actor = values["actor"]
    public = {name: value for name, value in values.items() if name not in _HIDDEN}
    return Job.model_validate(public | {"actor_id": actor["id"], "actor_name": actor["name"]})


def insert(conn: sa.Connection, job: Job, actor: Actor) -> bool:
    """Write a new job; False, writing nothing, when its kind and key exist."""
    values = job.model_dump(exclude={"actor_id", "actor_name", "queued_behind"}) | {
        "actor": {"id": actor.id, "name": actor.name, "roles": sorted(actor.roles), "key_id": actor.key_id},
        "starts": 0,
        "children": [],
    }
    build = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
    statement = build(jobs).values(**values).on_conflict_do_nothing(index_elements=["kind", "key"])
    return conn.execute(statement.returning(jobs.c.id)).first() is not None


def get(conn: sa.Connection, job_id: str) -> Job | None:
    """Return the job of this id, or None."""
    row = conn.execute(sa.select(jobs).where(jobs.c.id == job_id)).first()
    return _job(row) if row else None


def by_key(conn: sa.Connection, kind: str, key: str) -> Job | None:
    """Return the job of this kind and idempotency key."""
    row = conn.execute(sa.select(jobs).where(jobs.c.kind == kind, jobs.c.key == key)).first()
    return _job(row) if row else None


def list_jobs(
    conn: sa.Connection,
    *,
    kind: str | None,
    state: JobState | None,
    subject: str | None,
    before: str | None,
    limit: int,
) -> list[Job]:
    """Return jobs, newest first."""
    query = sa.select(jobs).order_by(jobs.c.id.desc()).limit(limit)
    for column, value in ((jobs.c.kind, kind), (jobs.c.state, state), (jobs.c.subject, subject)):
        if value is not None:
            query = query.where(column == value)
    if before is not None:
        query = query.where(jobs.c.id < before)
    return [_job(row) for row in conn.execute(query)]


def get_actor(conn: sa.Connection, job_id: str) -> Actor:
    """Return the actor that submitted the job."""
    values = conn.execute(sa.select(jobs.c.actor).where(jobs.c.id == job_id)).scalar_one()
    return Actor(**(values | {"roles": frozenset(values["roles"])}))


def change_state(conn: sa.Connection, job_id: str, before: Collection[JobState], **values: Any) -> bool:
    """Change a job that is in one of the states `before`. Return False, changing nothing, when it is not."""
    statement = jobs.update().where(jobs.c.id == job_id, jobs.c.state.in_(before))
    return conn.execute(statement.values(**values)).rowcount == 1


def cancel_unstarted(conn: sa.Connection, job_id: str, now: datetime) -> bool:
    """End a job that waits and never ran. Return False, changing nothing, for any other."""
    unstarted = (jobs.c.id == job_id, jobs.c.state == "queued", jobs.c.starts == 0)
    changes = {"state": "cancelled", "cancel_requested": True, "finished_at": now}
    return conn.execute(jobs.update().where(*unstarted).values(**changes)).rowcount == 1


def update(conn: sa.Connection, job_id: str, *, executor: str, **values: Any) -> bool:
    """Change a job while the process `executor` runs it. False when nothing was changed."""
    running = (jobs.c.executor == executor, jobs.c.state == "running")
    statement = jobs.update().where(jobs.c.id == job_id, *running)
    return conn.execute(statement.values(**values)).rowcount == 1


def get_ownership(conn: sa.Connection, job_id: str) -> Ownership | None:
    """Return which process runs the job, its state, and whether its end was requested."""
    columns = (jobs.c.executor, jobs.c.state, jobs.c.cancel_requested)
    row = conn.execute(sa.select(*columns).where(jobs.c.id == job_id)).first()
    return Ownership.model_validate(row._asdict()) if row else None


def count_by_state(conn: sa.Connection) -> dict[str, int]:
    """Return the number of jobs in each state that any is in."""
    query = sa.select(jobs.c.state, sa.func.count()).group_by(jobs.c.state)
    return {state: count for state, count in conn.execute(query)}


def count_queued(conn: sa.Connection, kinds: Sequence[str]) -> int:
    """Return how many jobs of these kinds wait to be started."""
    query = sa.select(sa.func.count()).where(jobs.c.state == "queued", jobs.c.kind.in_(kinds))
    return int(conn.execute(query).scalar_one())


def claim(
    conn: sa.Connection,
    kinds: Sequence[str],
    executor: str,
    limit: int,
    now: datetime,
    *,
    except_ids: Collection[str] = (),
) -> list[Claim]:
    """Take up to `limit` queued jobs of these kinds, oldest first. No two processes take one job.

    `except_ids` are left in the queue: jobs whose last run has not yet left this process.
    """
    oldest = (
        sa.select(jobs.c.id)
        .where(jobs.c.state == "queued", jobs.c.kind.in_(kinds), jobs.c.id.not_in(except_ids))
        .order_by(jobs.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    ids = list(conn.execute(oldest).scalars())
    if not ids:
        return []
    conn.execute(
        jobs.update()
        .where(jobs.c.id.in_(ids))
        .values(
            state="running",
            executor=executor,
            starts=jobs.c.starts + 1,
            started_at=sa.func.coalesce(jobs.c.started_at, sa.literal(now, UtcDateTime)),
        )
    )
    columns = [jobs.c[name] for name in Claim.model_fields]
    rows = conn.execute(sa.select(*columns).where(jobs.c.id.in_(ids)).order_by(jobs.c.id))
    return [Claim.model_validate(row_values(row)) for row in rows]


def release(conn: sa.Connection, executor: str, job_ids: Iterable[str] | None = None) -> list[str]:
    """Put the running jobs of a process (or only these of them) back into the queue."""
    query = sa.select(jobs.c.id).where(jobs.c.executor == executor, jobs.c.state == "running")
    if job_ids is not None:
        query = query.where(jobs.c.id.in_(list(job_ids)))
    ids = list(conn.execute(query.with_for_update()).scalars())
    if ids:
        values = {"state": "queued", "executor": None, "waiting_for": None}
        conn.execute(jobs.update().where(jobs.c.id.in_(ids)).values(**values))
    return ids


def requeue_unstarted(conn: sa.Connection, executor: str) -> None:
    """Put the jobs of a process that stops in good order back into the queue: that start was none of a crash.

    One start is always kept: a job that has run is told apart from one that never did.
    """
    mine = (jobs.c.executor == executor) & (jobs.c.state == "running") & (jobs.c.starts > 1)
    conn.execute(jobs.update().where(mine).values(starts=jobs.c.starts - 1))
    release(conn, executor)


def list_live(conn: sa.Connection, ended_after: datetime) -> list[LiveJob]:
    """Return the jobs that have not ended, and those that ended without success after a moment."""
    unfinished = jobs.c.state.in_(("queued", "running"))
    retriable = jobs.c.state.in_(("failed", "cancelled")) & (jobs.c.finished_at >= ended_after)
    columns = [jobs.c[name] for name in LiveJob.model_fields]
    rows = conn.execute(sa.select(*columns).where(unfinished | retriable).order_by(jobs.c.created_at))
    return [LiveJob.model_validate(row_values(row)) for row in rows]


def lock_ended(conn: sa.Connection, owner: str, ended_before: datetime) -> bool:
    """Hold the jobs with this id or subject as they are until the transaction ends.

    Return False when one of them may still need its files: it has not ended, or did so later, without success.
    """
    mine = (jobs.c.id == owner) | (jobs.c.subject == owner)
    rows = conn.execute(sa.select(jobs.c.state, jobs.c.finished_at).where(mine).with_for_update()).all()
    return all(
        row.state == "succeeded"
        or ((row.state in ENDED and row.finished_at is not None) and row.finished_at < ended_before)
        for row in rows
    )


def list_running(conn: sa.Connection, executor: str) -> dict[str, bool]:
    """Return the jobs that a process runs: id -> whether their end was requested."""
    query = sa.select(jobs.c.id, jobs.c.cancel_requested)
    rows = conn.execute(query.where(jobs.c.executor == executor, jobs.c.state == "running"))
    return {row.id: row.cancel_requested for row in rows}


def add_lines(conn: sa.Connection, notes: Sequence[Note]) -> None:
    """Write lines into job logs."""
    if notes:
        conn.execute(lines.insert(), [note.model_dump() for note in notes])


def list_before(conn: sa.Connection, job: Job, kinds: Sequence[str], *, limit: int) -> list[str]:
    """Return the ids of running jobs of these kinds, then of those queued before `job`, oldest first."""
    running = jobs.c.state == "running"
    before = sa.or_(running, sa.and_(jobs.c.state == "queued", jobs.c.id < job.id))
    query = sa.select(jobs.c.id).where(jobs.c.kind.in_(kinds), jobs.c.id != job.id, before)
    return list(conn.execute(query.order_by(jobs.c.state.desc(), jobs.c.id).limit(limit)).scalars())


def list_lines(conn: sa.Connection, job_id: str, after: int, limit: int) -> list[LogLine]:
    """Return the lines of a job after line `after`, oldest first."""
    query = sa.select(lines.c.id, lines.c.at, lines.c.level, lines.c.message, lines.c.data)
    query = query.where(lines.c.job_id == job_id, lines.c.id > after).order_by(lines.c.id).limit(limit)
    return [LogLine.model_validate(row._asdict()) for row in conn.execute(query)]


def insert_signal(conn: sa.Connection, *, signal_id: str, job_id: str, topic: str, payload: Any, now: datetime) -> None:
    """Insert a signal for a job."""
    values = {"id": signal_id, "job_id": job_id, "topic": topic, "payload": payload, "created_at": now}
    conn.execute(signals.insert().values(**values))


def take_signal(conn: sa.Connection, job_id: str, topic: str, step: str) -> tuple[Any] | None:
    """Return the payload, in a tuple, of the oldest signal on `topic` that is free or was taken by this very step."""
    query = (
        sa.select(signals.c.id, signals.c.payload)
        .where(signals.c.job_id == job_id, signals.c.topic == topic)
        .where(sa.or_(signals.c.taken_by.is_(None), signals.c.taken_by == step))
        .order_by(signals.c.taken_by.is_(None), signals.c.id)
        .limit(1)
    )
    row = conn.execute(query).first()
    if row is None:
        return None
    conn.execute(signals.update().where(signals.c.id == row.id).values(taken_by=step))
    return (row.payload,)


def clear_signals(conn: sa.Connection, job_id: str, topic: str) -> None:
    """Delete all untaken signals on `topic`."""
    free = (signals.c.job_id == job_id) & (signals.c.topic == topic) & signals.c.taken_by.is_(None)
    conn.execute(signals.update().where(free).values(taken_by="heard"))


def list_signalled(conn: sa.Connection, job_ids: Sequence[str]) -> set[str]:
    """Return which of these jobs have a signal that no step has taken."""
    if not job_ids:
        return set()
    query = sa.select(signals.c.job_id).where(signals.c.job_id.in_(job_ids), signals.c.taken_by.is_(None))
    return set(conn.execute(query.distinct()).scalars())


def register(conn: sa.Connection, worker: Worker, now: datetime) -> None:
    """Enter this process among those that run jobs."""
    conn.execute(workers.insert().values(**worker.model_dump(), started_at=now))


def record_heartbeat(conn: sa.Connection, worker_id: str) -> bool:
    """Say that the process lives; False when another has declared it dead."""
    statement = workers.update().where(workers.c.id == worker_id).values(beat=workers.c.beat + 1)
    return conn.execute(statement).rowcount == 1


def list_workers(conn: sa.Connection) -> list[Worker]:
    """Return every registered worker process, alive or not yet found dead."""
    columns = [workers.c[name] for name in Worker.model_fields]
    return [Worker.model_validate(row_values(row)) for row in conn.execute(sa.select(*columns))]


def remove_worker(conn: sa.Connection, worker_id: str) -> bool:
    """Strike a process; False when another did it first."""
    return conn.execute(workers.delete().where(workers.c.id == worker_id)).rowcount == 1
