"""The kinds of jobs: which function does the work, and what else the runner must know of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tidemill.core.kernel import Context
from tidemill.jobs.context import JobContext
from tidemill.jobs.types import Job

JobFunction = Callable[[JobContext, dict[str, Any]], dict[str, Any] | None]


@dataclass(frozen=True)
class JobKind:
    """One entry in the table of jobs.

    `run` does the work. A `heavy` job shares the machine with at most `jobs_concurrency - 1` others of its sort.
    `ended` is called with the ended job in the transaction that ends it, also when it never ran: the place to
    set the state of the row that the job was about.
    """

    run: JobFunction
    heavy: bool = False
    ended: Callable[[Context, Job], None] | None = None
