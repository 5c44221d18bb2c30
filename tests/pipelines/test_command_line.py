"""The commands: plan, apply, run, schema, runs, pipelines."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.pipelines.conftest import Desk, small
from tests.releases.makers import add_model
from tidemill.cli import _root_options_first, app
from tidemill.core.actors import OWNER
from tidemill.core.http import Http
from tidemill.core.terminal import failing_plainly
from tidemill.pipelines.types import PipelineSpec


class Shell:
    """Runs commands on the desk's application, in the desk's folder."""

    def __init__(self, desk: Desk, http: Http) -> None:
        self.desk, self.http = desk, http

    def run(self, *words: str, code: int = 0) -> str:
        runner = CliRunner()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tidemill.cli._connect", lambda _: self.http)
            patch.chdir(self.desk.folder)
            result = runner.invoke(app, _root_options_first(list(words)), env={"COLUMNS": "200"}, catch_exceptions=True)
        if isinstance(result.exception, Exception):
            with pytest.raises(SystemExit), failing_plainly(lambda: False):
                raise result.exception
        return result.output if result.exit_code == code else f"exit {result.exit_code}: {result.output}"


@pytest.fixture
def shell(desk: Desk) -> Shell:
    return Shell(desk, desk.pipelines._http)


def test_plan_apply_run_and_look(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    shell.desk.write()
    out = shell.run("plan")
    assert "+ data:\n+   dataset: questions\n" in out
    assert "3 to add, 0 to change, 0 to remove." in out
    assert "has not been done with what it reads now" in out
    assert "Applied as small@1" in shell.run("apply")
    assert "small@1 was applied already; nothing has changed." in shell.run("apply")
    assert "small#1 has started" in shell.run("run", "--note", "a push")
    out = shell.run("runs", "show", "small", "--watch")
    assert "small#1" in out
    assert "questions@1: train 42, test 18" in out
    again = shell.run("run", "--watch")
    assert "Nothing has changed: none of the 3 steps had anything to do." in again
    assert "(from small#1)" in again
    listed = shell.run("runs", "list")
    assert "small#2" in listed
    assert json.loads(shell.run("--json", "runs", "list"))["items"][0]["number"] == 2
    assert "small" in shell.run("pipelines", "list")
    assert json.loads(shell.run("--json", "pipelines", "show", "small@1"))["number"] == 1


def test_the_exit_code_tells_how_a_run_ended(shell: Shell) -> None:
    shell.desk.write()
    (shell.desk.folder / "questions.jsonl").write_text('{"text": "who", "label": "HUM"}\n' * 3)
    shell.run("apply")
    out = shell.run("run", "--watch", code=1)
    assert not out.startswith("exit"), out
    assert "failed" in out
    assert "Go on: tidemill runs retry small#1" in shell.run("runs", "skip", "small#1", "data", "--reason", "no")
    assert "goes on" in shell.run("runs", "retry", "small#1")


def test_watching_returns_when_a_person_is_asked(shell: Shell) -> None:
    with shell.desk.kernel.write(OWNER) as ctx:
        add_model(ctx, shell.desk.folder)
    spec = {"name": "ship", "model": "tiny", "release": {"name": "hello"}, "environments": ["prod"]}
    shell.desk.pipelines.apply(PipelineSpec.model_validate(spec))
    out = shell.run("run", "--pipeline", "ship", "--watch")
    assert "waiting" in out
    assert "waits for a person to let hello@1 go to prod" in out
    assert "is on its way already" in shell.run("run", "--pipeline", "ship")
    assert "ends" in shell.run("runs", "cancel", "ship#1")


def test_the_schema_is_printed(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    schema = json.loads(shell.run("schema"))
    assert schema["title"] == "PipelineSpec"
    assert json.loads(json.dumps(small()))["name"] in "small"


def test_without_a_document_the_only_pipeline_is_meant(shell: Shell) -> None:
    shell.desk.pipelines.apply(shell.desk.write())
    (shell.desk.folder / "tidemill.yaml").unlink()
    assert "small#1 has started" in shell.run("run")
    assert isinstance(shell.desk.folder, Path)
    shell.desk.runs.wait("small", timeout=120)
