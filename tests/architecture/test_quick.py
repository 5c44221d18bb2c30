"""`make quick` starts no engine, trains nothing and needs no PostgreSQL."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source import ROOT
from tests.quick import GUARD, LEFT_OUT
from tidemill.core.settings import Settings
from tidemill.engines.llamacpp import MODULE as ENGINE

TRAINER = "tidemill.tuning.train"

PLUGIN = """
import json, os, pathlib
def pytest_collection_finish(session):
    found = {i.nodeid: [sorted({m.name for m in i.iter_markers()}), sorted(i.fixturenames)] for i in session.items}
    pathlib.Path(os.environ["SELECTION"]).write_text(json.dumps(found))
"""


EXAMPLES = ("gateway/test_asgi.py", "tuning/test_rows.py", "server/test_process.py", "prompts/test_service.py")
"""Tests with an engine, with and without training, with several servers, and on both databases."""


@pytest.fixture(scope="module")
def selection(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[str], list[str]]]:
    """What a quick run takes of the examples: node id -> markers and fixtures. Collecting all would take ten times."""
    folder = tmp_path_factory.mktemp("selection")
    (folder / "selection_plugin.py").write_text(PLUGIN)
    argv = [sys.executable, "-m", "pytest", "--quick", "--collect-only", "-q", "-p", "selection_plugin"]
    argv += [f"tests/{example}" for example in EXAMPLES]
    environment = Settings().child_environment()
    environment |= {"SELECTION": str(folder / "out.json"), "PYTHONPATH": f"{folder}:{ROOT / 'src'}"}
    run = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    return json.loads((folder / "out.json").read_text())


@pytest.mark.slow
def test_a_quick_run_has_no_test_that_needs_what_is_dear(selection: dict[str, tuple[list[str], list[str]]]) -> None:
    wrong = {name: found for name, (found, _) in selection.items() if set(found) & set(LEFT_OUT)}
    assert not wrong
    wrong = {
        name: used for name, (_, used) in selection.items() if {"postgres", "tiny_gguf", "filled_home"} & set(used)
    }
    assert not wrong
    assert not [name for name in selection if "postgres" in name]
    assert {name.partition("::")[0] for name in selection} == {
        "tests/tuning/test_rows.py",
        "tests/prompts/test_service.py",
    }


@pytest.mark.parametrize(
    "argv", [["-m", ENGINE, "--model", "none.gguf"], ["-m", TRAINER, "spec.json"]], ids=["engine", "trainer"]
)
def test_a_quick_run_refuses_engines_and_trainers_in_every_process(argv: list[str], tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text('{"threads": 1}')
    environment = Settings(home=tmp_path / "home").child_environment()
    environment |= {"PYTHONPATH": ":".join([str(GUARD), str(ROOT / "src")])}
    kept_open, parent = os.pipe()  # an engine whose parent closes this ends at once
    try:
        run = subprocess.run(
            [sys.executable, *argv],
            cwd=tmp_path, env=environment, stdin=kept_open, capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        os.close(kept_open)
        os.close(parent)
    assert "a quick run of the tests loads no" in run.stdout + run.stderr
