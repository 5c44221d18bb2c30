"""`tidemill data` as a person types it: one process after the other on one home."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from tidemill.cli import app
from tidemill.core.errors import TidemillError
from tidemill.core.settings import Settings

CSV = "question,kind\n" + "".join(
    f"{word} number {n * 7919} of the list?,{'ab'[n % 2]}\n"
    for n, word in enumerate(["rivers", "kings", "engines", "planets", "poems", "bridges", "sharks", "violins"] * 5)
)


def run(home: Path, folder: Path, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tidemill", *arguments],
        env=Settings(home=home).child_environment() | {"COLUMNS": "200"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def here(*arguments: str) -> str:
    """The same in this process, which is five times as fast."""
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.slow
def test_a_first_hour_with_data(home: Path, tmp_path: Path) -> None:
    (tmp_path / "questions.csv").write_text(CSV)
    error = run(home, tmp_path, "data", "import", "questions.csv", code=1)
    assert "[mapping_unclear]" in error
    assert "--schema classification --map text=question --map label=kind" in error
    (tmp_path / "recipe.yaml").write_text("- step: whitespace\n- step: exact_duplicates\n")
    mapping = ("--map", "text=question", "--map", "label=kind", "--recipe", "recipe.yaml")
    imported = run(home, tmp_path, "data", "import", "questions.csv", *mapping, "--split", "train=0.8,test=0.2")
    assert "questions@1" in imported
    assert "Splits: train 32, test 8" in imported
    assert "questions" in run(home, tmp_path, "data", "list")
    version = json.loads(here("--json", "data", "show", "questions"))
    assert [step["step"] for step in version["steps"]] == ["whitespace", "exact_duplicates"]
    assert "rows 1 to 3 of 8" in here("data", "preview", "questions", "--split", "test", "--limit", "3")
    assert "MIT" in here("data", "catalogue", "set", "questions", "--licence", "MIT")
    assert "MIT" in here("data", "list")
    assert "questions-1-test.jsonl" in here("data", "export", "questions", str(tmp_path / "out"), "--format", "jsonl")


@pytest.mark.slow
def test_options_that_do_not_fit_say_so(home: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    (tmp_path / "bad.yaml").write_text("steps:\n- step: polish\n")
    for words, message in (
        (("a.csv", "--split", "train=0.8,test=0.3"), "the ratios add up to 1.1"),
        (("a.csv", "--recipe", str(tmp_path / "bad.yaml")), "polish"),
        (("b.csv",), "There is no file"),
    ):
        refused = CliRunner().invoke(app, ["data", "import", str(tmp_path / words[0]), *words[1:]]).exception
        assert isinstance(refused, TidemillError | ValidationError)
        assert message in str(refused)
