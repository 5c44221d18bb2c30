from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.kinds import open_kernel
from tidemill.core.kernel import Kernel
from tidemill.jobs.service import JobQueue


@pytest.fixture
def url(database_url: str) -> str | None:
    """The setting `database_url`: None for SQLite."""
    return None if database_url.startswith("sqlite") else database_url


@pytest.fixture
def idle(home: Path, url: str | None) -> Iterator[Kernel]:
    """A kernel that does not run jobs."""
    kernel = open_kernel(home, url)
    yield kernel
    kernel.get(JobQueue).stop()
    kernel.close()


@pytest.fixture
def kernel(idle: Kernel) -> Kernel:
    """A kernel that runs jobs."""
    idle.get(JobQueue).start(idle)
    return idle
