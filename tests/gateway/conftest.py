"""One live server for the tests of a module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import quick
from tests.deployments.live import LiveServer, served


@pytest.fixture(scope="module")
@quick.needs("engine")
def server(filled_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server with hello@1 live in dev."""
    with served(tmp_path_factory.mktemp("served") / "home", filled_home) as live_server:
        yield live_server
