"""Every script in `benchmarks/` and every file in `examples/` is started as its text says, with the smallest size."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from tidemill.cli import app
from tidemill.client import Client

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(path for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text(encoding="utf-8"))
TIMEOUT_S = 300
"""What hangs is stopped; no script takes a tenth of it."""

SMALLEST: dict[str, list[str]] = {
    "canary_errors": ["--times", "2"],
    "data": ["0.05"],
    "drift_errors": ["--questions", "600", "--windows", "1", "--permutations", "199", "--only", "quiet"],
    "gate_errors": ["--times", "2"],
    "pii": ["--count", "20"],
    "serving": ["--rounds", "1", "--tokens", "4", "--streams", "1"],
    "slo_errors": ["--weeks", "1"],
    "trace_index": ["--spans", "1000"],
    "traces": ["--spans", "500", "--rounds", "1", "--senders", "1", "--no-pin"],
    "tuning": ["--steps", "1", "--batch", "2", "--threads", "1"],
    "weight": ["--runs", "1", "--requests", "1", "--idle", "0.1"],
}
MARKS = {"serving": [pytest.mark.engine], "tuning": [pytest.mark.tune], "drift_errors": [pytest.mark.tune]}


def run(script: Path, arguments: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a script in a folder that is not the checkout, without any setting."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TIDEMILL_")}
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=folder,
        env=environment | {"TIDEMILL_HOME": str(folder / "home"), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_every_benchmark_has_a_smallest_size() -> None:
    assert {path.stem for path in SCRIPTS} == SMALLEST.keys()


@pytest.mark.slow
@pytest.mark.parametrize(
    "script", [pytest.param(path, id=path.stem, marks=MARKS.get(path.stem, [])) for path in SCRIPTS]
)
def test_a_benchmark_runs(script: Path, tmp_path: Path) -> None:
    # The first one with `--help`, as a person would begin.
    usage = run(script, ["--help"], tmp_path)
    assert usage.returncode == 0, usage.stderr
    assert "usage:" in usage.stdout
    assert script.read_text(encoding="utf-8")[3:40] in usage.stdout.replace("\n", " ")
    measured = run(script, SMALLEST[script.stem], tmp_path)
    assert measured.returncode == 0, measured.stderr
    assert measured.stdout.strip()


@pytest.mark.slow
def test_the_example_of_a_pipeline_is_planned(home: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / "tidemill.yaml", tmp_path)
    (tmp_path / "question_labels.txt").write_text("HUM:ind Who wrote Carmen ?\nNUM:date When was it ?\n" * 20)
    with Client(home=home) as client:
        client.models.add_packaged("smollm2")
        forecast = client.pipelines.plan(tmp_path / "tidemill.yaml")
    assert forecast.name == "question-types"
    assert forecast.changes


@pytest.mark.parametrize("file", ["github-actions.yml", "gitlab-ci.yml"])
def test_the_commands_of_an_example_for_ci_are_there(file: str) -> None:
    path = ROOT / "examples" / file
    assert yaml.safe_load(path.read_text(encoding="utf-8"))
    lines = re.findall(r"^[ -]*(?:run: )?(tidemill .*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    commands = [shlex.split(line.split("|")[0]) for line in lines]
    assert len(commands) == 4
    group = typer.main.get_command(app)
    for command in commands:
        known = group.commands[command[1]]
        options = {option for parameter in known.params for option in parameter.opts}
        assert {word for word in command if word.startswith("--")} <= options, command


def test_every_example_is_tried() -> None:
    assert {path.name for path in (ROOT / "examples").iterdir()} == {
        "github-actions.yml",
        "gitlab-ci.yml",
        "tidemill.yaml",
    }
