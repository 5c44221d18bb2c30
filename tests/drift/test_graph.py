"""The file of the embedding model's graph."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tidemill.drift import minilm


@pytest.mark.slow
def test_checks_that_start_at_once_in_an_empty_folder_all_find_it_whole(tmp_path: Path, graph: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: minilm.graph_file(tmp_path / "models").read_bytes(), range(4)))
    assert made == [graph.read_bytes()] * 4
    assert [path.name for path in (tmp_path / "models").iterdir()] == [graph.name]
