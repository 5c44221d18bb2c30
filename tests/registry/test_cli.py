"""`tidemill models` and `client.models`, from the command line down to the database."""

import json
import os
import pickle
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.registry.makers import write_folder, write_gguf
from tidemill.cli import app
from tidemill.client import Client
from tidemill.core.errors import ConfirmationMissing, TidemillError
from tidemill.core.terminal import size
from tidemill.registry.packaged import SMOLLM2
from tidemill.registry.types import PackagedModelMissing, UnsafeModelFile, VersionDiffers


def run(*argv: str):
    return CliRunner().invoke(app, argv)


def read(*argv: str):
    result = run("--json", *argv)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.slow
def test_the_life_of_a_model_on_the_command_line(home: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        added = read("models", "add", str(write_gguf(tmp_path / f"{seed}.gguf", seed=seed)), "--name", "tiny")
    assert (added["number"], added["servable"]) == (2, True)
    assert [m["name"] for m in read("models", "list")["items"]] == ["tiny"]
    assert [v["number"] for v in read("models", "versions", "tiny")["items"]] == [2, 1]
    moved = read("models", "alias", "tiny", "champion", "1", "--reason", "first")
    assert read("models", "show", "tiny@champion")["number"] == 1
    assert read("models", "history", "tiny", "champion")["changes"] == [moved]
    assert read("models", "history", "tiny", "champion", "--at", moved["at"])["number"] == 1
    output = run("models", "show", "tiny@1")
    assert "champion" in output.stdout
    assert "A base taken as is." in output.stdout
    assert "# tiny" in run("models", "card", "tiny").stdout
    assert read("models", "alias", "tiny", "champion", "--remove", "--reason", "done")["version_id"] is None
    unasked = run("models", "delete", "tiny@2").exception
    assert isinstance(unasked, ConfirmationMissing)
    assert (unasked.message, unasked.hint) == (
        f"Forget tiny@2 (gguf, {size(added['size'])})? Nobody is here to answer.",
        "Add --yes if that is meant.",
    )
    assert isinstance(run("--json", "models", "delete", "tiny@2").exception, ConfirmationMissing)
    assert [v["number"] for v in read("models", "versions", "tiny")["items"]] == [2, 1]
    assert run("models", "delete", "tiny", "--yes").exit_code == 0
    assert [v["number"] for v in read("models", "versions", "tiny")["items"]] == [1]


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "code", "remaining"), [("n", 1, 1), ("y", 0, 0)])
def test_deleting_asks_the_person_at_the_terminal(
    home: Path, tmp_path: Path, answer: str, code: int, remaining: int
) -> None:
    read("models", "add", str(write_gguf(tmp_path / "tiny.gguf")), "--name", "tiny")
    person, stdin = pty.openpty()
    argv = [sys.executable, "-m", "tidemill", "models", "delete", "tiny@1"]
    os.write(person, f"{answer}\n".encode())
    done = subprocess.run(argv, stdin=stdin, capture_output=True, text=True, timeout=120)
    os.close(person)
    os.close(stdin)
    assert done.returncode == code, done.stderr
    assert "Forget tiny@1 (gguf" in done.stderr
    assert ("Nothing was changed." in done.stderr) == bool(code)
    assert len(read("models", "versions", "tiny")["items"]) == remaining


@pytest.mark.parametrize(
    "argv",
    [
        ["models", "add", "nowhere", "--name", "x"],
        ["models", "add", "pyproject.toml"],
        ["models", "alias", "x", "champion", "1"],
        ["models", "alias", "x", "champion", "--reason", "why"],
        ["models", "history", "x", "champion", "--at", "teatime"],
        ["models", "add", "x", "--name", "x", "--kind", "odd"],
        ["models", "add", "x", "--name", "x", "--parent", "y@1"],
        ["models", "show", "nobody"],
    ],
)
def test_a_wrong_command_says_what_to_do(home: Path, argv: list[str]) -> None:
    result = run(*argv)
    assert isinstance(result.exception, TidemillError)
    assert result.exception.hint


def test_the_sdk_uploads_with_progress_and_refuses_before_it_sends(client: Client, tmp_path: Path) -> None:
    reports: list[tuple[str, int, int]] = []
    folder = write_folder(tmp_path / "st")
    version = client.models.add(folder, name="tiny", progress=lambda *report: reports.append(report))
    assert {label for label, _, _ in reports} == {f.path for f in version.files}
    assert all(sent_bytes == total for _, sent_bytes, total in reports)
    assert client.models.add(folder, name="tiny") == version
    with pytest.raises(VersionDiffers):
        client.models.add(folder, name="tiny", licence="MIT")
    (folder / "optimizer.pt").write_bytes(pickle.dumps({}))
    reports.clear()
    with pytest.raises(UnsafeModelFile):
        client.models.add(folder, name="tiny", progress=lambda *report: reports.append(report))
    assert reports == []


def test_the_packaged_base_is_registered_once(client: Client) -> None:
    version = client.models.add_packaged("smollm2")
    assert (version.ref, version.servable, version.licence) == ("smollm2@1", True, "Apache-2.0")
    assert version.files[0].path == SMOLLM2.file
    assert client.models.add_packaged("smollm2") == version
    with pytest.raises(PackagedModelMissing, match="gpt"):
        client.models.add_packaged("gpt")
