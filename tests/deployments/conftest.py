"""One live server for the tests of a module."""

from collections.abc import Iterator

import pytest

from tests.deployments.live import LiveServer, served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server with hello@1 live in dev."""
    with served(tmp_path_factory.mktemp("served") / "home") as made:
        yield made
