"""Drift through the SDK, the job and the command line, with a dataset as the reference."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.drift.test_checks import ask, person, place
from tidemill.cli import app
from tidemill.core.http import Http, InProcessTransport
from tidemill.core.kernel import Kernel
from tidemill.core.settings import Settings
from tidemill.data.sdk import Data
from tidemill.data.types import DatasetNotFound, SplitNotFound
from tidemill.drift.sdk import Drift
from tidemill.drift.service import CHECK_JOB
from tidemill.drift.types import ReferenceUnfit
from tidemill.jobs.sdk import Jobs
from tidemill.jobs.service import JobQueue
from tidemill.monitors.sdk import Monitors
from tidemill.server.app import build


class Desk:
    """The SDK, and the kernel behind it."""

    def __init__(self, http: Http, kernel: Kernel) -> None:
        self.drift = Drift(http)
        self.data = Data(http)
        self.http = http
        self.kernel = kernel


@pytest.fixture
def desk(home: Path) -> Iterator[Desk]:
    application = build(Settings(home=home))
    application.kernel.get(JobQueue).start(application.kernel)
    http = Http("http://tidemill.local", transport=InProcessTransport(application.asgi))
    try:
        yield Desk(http, application.kernel)
    finally:
        http.close()
        application.kernel.get(JobQueue).stop()
        application.kernel.close()


def questions(desk: Desk, folder: Path) -> None:
    """A dataset of 240 questions, three quarters about places."""
    rows = [(person(n), "HUM") if n % 4 == 0 else (place(n), "LOC") for n in range(240)]
    file = folder / "questions.jsonl"
    file.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    # No recipe step may take the made-up questions for copies of each other.
    desk.data.import_(file, name="questions", row_schema="classification", recipe={"steps": []})


@pytest.mark.slow
def test_a_dataset_is_the_reference_and_its_labels_help(desk: Desk, tmp_path: Path) -> None:
    questions(desk, tmp_path)
    options = {"window": {"rows": 60}, "reference_rows": 80, "minimum_rows": 40, "label_field": "type"}
    made = desk.drift.create("mix", reference="questions@1", environment="prod", permutations=199, **options)
    assert desk.drift.list().items == [made] == [desk.drift.get(made.id)]
    ask(desk.kernel, range(1000, 1060), 1, question=person, said="HUM")

    states: list[str] = []
    report = desk.drift.check("mix", watch=lambda job: states.append(job.state))
    assert states[-1] == "succeeded", "a server checks in a job, so that no request takes minutes"
    found = {test.name: test for test in report.tests}
    assert report.verdict == "drift"
    assert found["inputs.label"].verdict == "drift"
    assert found["inputs.label"].window == pytest.approx({"HUM": 1.0, "LOC": 0.0})
    assert found["inputs.label"].reference["LOC"] == pytest.approx(0.75, abs=0.12)
    assert found["outputs.label"].verdict == "drift"
    assert "outputs.length" not in found
    assert report.reference_label == "questions@1 train"
    assert desk.drift.report("mix") == desk.drift.report(report.id) == report
    with desk.kernel.db.read() as conn:
        facts = conn.exec_driver_sql("SELECT kind FROM events WHERE kind LIKE 'drift.%'").scalars().all()
    assert facts == ["drift.found"]

    checked = Monitors(desk.http).check("mix")
    assert checked.drift is not None
    (job,) = Jobs(desk.http).list(kind=CHECK_JOB, limit=1).items
    assert (checked.drift_job, job.result) == (job.id, {"report_id": checked.drift.id, "verdict": "drift"})

    job = desk.drift.submit_check("mix")
    done = Jobs(desk.http).wait(job.id, timeout=120)
    assert done.result is not None
    assert desk.drift.reports("mix").items[0].id == done.result["report_id"]
    desk.drift.remove("mix")
    assert desk.drift.list().items == []


def test_a_reference_that_is_not_there_is_refused_at_once(desk: Desk, tmp_path: Path) -> None:
    questions(desk, tmp_path)
    with pytest.raises(DatasetNotFound, match="question"):
        desk.drift.create("mix", reference="question@1")
    with pytest.raises(SplitNotFound, match="test"):
        desk.drift.create("mix", reference="questions@1/test")


@pytest.mark.slow
def test_the_command_line(desk: Desk, tmp_path: Path) -> None:
    questions(desk, tmp_path)
    runner = CliRunner()

    def tidemill(*words: str) -> str:
        result = runner.invoke(app, list(words), env={"COLUMNS": "200"})
        assert result.exit_code == 0, result.output
        return result.output

    tidemill("monitors", "create", "mix", "--dataset", "questions@1", "--rows", "60", "--minimum-rows", "40",
             "--reference-rows", "80", "--env", "prod", "--field", "inputs")  # fmt: skip
    assert "questions@1" in tidemill("monitors", "show", "mix")
    ask(desk.kernel, range(1000, 1060), 1, question=person, said="HUM")
    assert "Drift in inputs" in tidemill("monitors", "check", "mix")
    page = tidemill("monitors", "report", "mix")
    assert "inputs.classifier" in page
    assert "grew" in page
    assert "Who " in page
    assert "drift" in tidemill("monitors", "reports", "mix")
    as_json = json.loads(tidemill("--json", "monitors", "report", "mix"))
    assert as_json["verdict"] == "drift"
    assert "watched no longer" in tidemill("monitors", "remove", "mix")
    wrong = runner.invoke(app, ["monitors", "create", "mix"])
    assert wrong.exit_code != 0


@pytest.mark.slow
def test_the_job_of_a_check_raises_what_the_check_raises(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions(desk, tmp_path)
    desk.drift.create("mix", reference="questions@1", environment="prod")

    def fail(*_arguments: object) -> None:
        raise ReferenceUnfit("The reference is empty.", hint="Choose another.")

    monkeypatch.setattr("tidemill.drift.sources.load_samples", fail)
    for check in (desk.drift.check, Monitors(desk.http).check):
        with pytest.raises(ReferenceUnfit, match="The reference is empty"):
            check("mix")
