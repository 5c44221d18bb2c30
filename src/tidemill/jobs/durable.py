"""The durable step log: DBOS, kept behind these few calls so that nothing else knows it.

DBOS keeps which steps of a job are done and with what result. Who runs which job is decided in our own table (see
`runner`), so each process has an executor id and a queue of its own in DBOS, and DBOS's own recovery finds nothing.
"""

import contextvars
import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa

from tidemill.core.db import Database
from tidemill.core.errors import Unavailable
from tidemill.jobs.types import JobStepsChanged, JobSuspended

APPLICATION = "tidemill"

APPLICATION_VERSION = "1"
"""DBOS leaves the runs of another version alone, so this stays; a changed job is found by its step names."""

SCHEMA = "tidemill_jobs"
"""Schema of the step log in a PostgreSQL database."""

WORKFLOW = "tidemill.job"

AGAIN_FROM = "again_from"
"""Key in the output of a step that says from which step a retry goes, when it is the last one recorded."""

RESUME_SECONDS = 1.0
"""How often to look for jobs taken over from a dead process. Each look is a query, also when nothing is to be done."""


_ONE_LOG = threading.Lock()
"""Held by the log that was started: there is one DBOS in a process."""


class StepLog(Protocol):
    """What the runner needs: begin a job in a thread, and a step inside it that is done once."""

    def start(self, run: Callable[[str], None]) -> None:
        """Open the log; `run(job_id)` is called in a thread for each job begun."""
        ...

    def open(self) -> None:
        """End the rest, if there is one. Raises Unavailable."""
        ...

    def begin(self, job_id: str, *, again: bool = False) -> None:
        """Run a job: from its start, from where a dead process left it, or again from its failed step.

        With `again` the last run of the job has ended in our own table, whatever the log says of it. The log is open.
        """
        ...

    def step(self, name: str, function: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the recorded result of this step; without one call `function` and record its result."""
        ...

    def forget(self, executor: str) -> None:
        """Remove what the log keeps for a dead process."""
        ...

    def rest(self) -> None:
        """No job runs and none is expected: take no processor time until `open`."""
        ...

    def stop(self) -> None:
        """Close connections and threads."""
        ...


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = "IMMEDIATE"
    connection.execute("PRAGMA busy_timeout=30000")
    connection.execute("PRAGMA journal_mode=WAL")
    # NORMAL: a power cut may lose the last steps, which are then done again; it never damages the file.
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")


class DbosLog:
    """The step log in DBOS: the file `jobs.db` of the home, or a schema of its own in PostgreSQL."""

    def __init__(self, db: Database, home: Path, executor: str) -> None:
        self.executor = executor
        self.queue = _queue(executor)
        self._engine: sa.Engine | None = None
        self._dbos: Any = None
        """The module while DBOS runs."""
        self._waiting: set[threading.Event] = set()
        self._stopped = False
        self._config: dict[str, Any] = {
            "name": APPLICATION,
            "application_version": APPLICATION_VERSION,
            "executor_id": executor,
            "log_level": "ERROR",
            "enable_otlp": False,
            # Its messages between workflows are not used (see `JobContext.wait_for`), so nothing need listen for
            # them. The interval only decides how long stopping takes.
            "use_listen_notify": False,
            "notification_listener_polling_interval_sec": 0.2,
        }
        if db.is_sqlite:
            url = f"sqlite:///{home / 'jobs.db'}"
            self._engine = sa.create_engine(url, pool_size=20, max_overflow=20)
            sa.event.listen(self._engine, "connect", _prepare_sqlite)
            self._config |= {"system_database_url": url, "system_database_engine": self._engine}
        else:
            self._config |= {
                "system_database_url": db.url_text,
                "dbos_system_schema": SCHEMA,
                "sys_db_pool_size": 10,
            }

    def start(self, run: Callable[[str], None]) -> None:
        """Open the log; `run(job_id)` is called in a thread for each job begun. Raises Unavailable.

        DBOS itself is started for the first job. In PostgreSQL it is started here too, so that a schema that cannot be
        made is told at the start.
        """
        if not _ONE_LOG.acquire(blocking=False):
            raise Unavailable(
                "This process already runs jobs for another home.",
                hint="Start a process of its own for each home.",
            )
        self._run = run
        if self._engine is None:
            try:
                self.open()
            except BaseException:
                _ONE_LOG.release()
                raise

    def open(self) -> None:
        """Start DBOS, unless it runs. Raises Unavailable.

        Takes 15 ms; the first time in a process 300 ms and 12 MB, for the import.
        """
        if self._dbos is not None:
            return
        import dbos

        try:
            self._launch(dbos)
        except Exception as error:
            dbos.DBOS.destroy(destroy_registry=True)
            raise Unavailable(f"The step log of jobs cannot be opened: {error}") from error
        self._dbos = dbos

    def _launch(self, dbos: Any) -> None:
        _quiet_logging()
        self._config["serializer"] = dbos.DBOSPortableJSONSerializer()  # the default would be pickle
        dbos.DBOS(config=self._config)
        dbos.DBOS.listen_queues([self.queue])

        # Attempts are not limited here: the runner gives up on a job that crashes too often.
        @dbos.DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)  # type: ignore[untyped-decorator]
        def workflow(job_id: str) -> None:
            self._in_daemon_thread(self._run, job_id)

        self._workflow = workflow
        dbos.DBOS.launch()
        dbos.DBOS.register_queue(self.queue, polling_interval_sec=RESUME_SECONDS, on_conflict="never_update")

    def _in_daemon_thread(self, run: Callable[[str], None], job_id: str) -> None:
        """Run the job where a long step cannot keep the process from ending: DBOS's own threads would."""
        ended, raised = threading.Event(), list[BaseException]()

        def body() -> None:
            try:
                run(job_id)
            except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that waits
                raised.append(error)
            finally:
                ended.set()

        self._waiting.add(ended)
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(body,), name=f"tidemill-{job_id}", daemon=True).start()
        ended.wait()
        self._waiting.discard(ended)
        if raised:
            raise raised[0]
        if self._stopped:
            raise JobSuspended("this process stops")

    def begin(self, job_id: str, *, again: bool = False) -> None:
        """Run a job: from its start, from where a dead process left it, or again from its failed step.

        With `again` the last run of the job has ended in our own table, whatever the log says of it.
        """
        status = self._dbos.DBOS.get_workflow_status(job_id)
        if status is None:
            with self._dbos.SetWorkflowID(job_id):
                self._dbos.DBOS.start_workflow(self._workflow, job_id)
            return
        active = status.status in ("PENDING", "ENQUEUED", "DELAYED")
        if active and not again:
            self._dbos.DBOS.resume_workflow(job_id, queue_name=self.queue)
        else:
            if active:
                # The run ended in our table, and DBOS has not recorded that: its thread is not so far yet, or its
                # process was killed. To resume it would replay the failure. DBOS lets no late outcome in after this.
                self._dbos.DBOS.cancel_workflow(job_id)
            first = self._first_failed(job_id)
            self._dbos.DBOS.rewind_workflow(job_id, start_step=first, queue_name=self.queue)

    def _first_failed(self, job_id: str) -> int:
        steps = sorted(self._dbos.DBOS.list_workflow_steps(job_id), key=lambda step: int(step["function_id"]))
        if steps and isinstance(last := steps[-1]["output"], dict) and AGAIN_FROM in last:
            return int(last[AGAIN_FROM])
        for step in steps:
            output = step["output"]
            if step["error"] is not None or (isinstance(output, dict) and "error" in output):
                return int(step["function_id"])
        return max((int(step["function_id"]) for step in steps), default=0) + 1

    def step(self, name: str, function: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the recorded result of this step, or `function()`, recorded. Raises JobStepsChanged, JobSuspended."""
        errors = self._dbos.error
        try:
            result: dict[str, Any] = self._dbos.DBOS.run_step({"name": name}, function)
        except errors.DBOSUnexpectedStepError as error:
            raise JobStepsChanged(
                f"The job was begun by another version, which did another step where this one does {name!r}.",
                hint="Submit the work anew as a new job.",
            ) from error
        except errors.DBOSBaseException as error:  # another process has the job now
            raise JobSuspended(str(error)) from error
        return result

    def forget(self, executor: str) -> None:
        """Remove a dead process's queue. Its jobs move to the queue of the process that takes them over."""
        self.open()
        self._dbos.DBOS.delete_queue(_queue(executor))

    def rest(self) -> None:
        """Close DBOS until the next job: its six threads ask the database every second, work or no work."""
        if self._dbos is not None and not self._waiting:
            self._close()

    def stop(self) -> None:
        """Close connections and threads."""
        self._stopped = True
        for waiting in list(self._waiting):
            waiting.set()
        try:
            if self._dbos is not None:
                self._close()
        finally:
            if self._engine is not None:
                self._engine.dispose()
            _ONE_LOG.release()

    def _close(self) -> None:
        dbos, self._dbos = self._dbos, None
        try:
            dbos.DBOS.delete_queue(self.queue)
        finally:
            dbos.DBOS.destroy(destroy_registry=True)


def _queue(executor: str) -> str:
    return f"{APPLICATION}-{executor}"


def _quiet_logging() -> None:
    """Let DBOS's errors go where ours go; without a handler of its own it would print to the console."""
    logger = logging.getLogger("dbos")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
