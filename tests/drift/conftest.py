"""A kernel on SQLite, and the embedding model made once for all tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidemill.core.kernel import Kernel
from tidemill.core.settings import Settings
from tidemill.drift import minilm
from tidemill.server.app import build_kernel


@pytest.fixture(scope="session")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ONNX file of the embedding model."""
    return minilm.graph_file(tmp_path_factory.mktemp("models"))


@pytest.fixture(autouse=True)
def _model_in_home(home: Path, graph: Path) -> None:
    folder = home / "models"
    folder.mkdir(parents=True)
    os.link(graph, folder / graph.name)


@pytest.fixture
def local(home: Path) -> Iterator[Kernel]:
    """A kernel on SQLite, for tests of which the database is not the point."""
    made = build_kernel(Settings(home=home))
    yield made
    made.close()
