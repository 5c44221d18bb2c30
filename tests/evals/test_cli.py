"""`tidemill evals`, as a person and as a script read it."""

import io
import json
from collections.abc import Callable

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from tests.evals.conftest import Desk, labelled
from tidemill.cli import app
from tidemill.core import lineage
from tidemill.core.actors import OWNER
from tidemill.core.errors import BadRequest, TidemillError
from tidemill.core.terminal import Terminal
from tidemill.evals import tables
from tidemill.evals.cli import app as evals_app
from tidemill.evals.cli import scorer_spec
from tidemill.evals.metrics import label_report
from tidemill.evals.types import TargetInvalid

Run = Callable[..., Result]
ACCURACY = 'accuracy=label_accuracy:{"json_field": "type"}'


@pytest.fixture
def run(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `tidemill evals ...` on the desk."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str, as_json: bool = False) -> Result:
        terminal = Terminal(connect=lambda _workers: desk.http, as_json=as_json)
        result = CliRunner().invoke(evals_app, list(arguments), obj=terminal)
        if isinstance(result.exception, TidemillError):
            raise result.exception
        return result

    return call


@pytest.mark.slow
def test_from_a_dataset_to_a_verdict(run: Run, desk: Desk) -> None:
    mapping = {"fields": {"text": "text", "label": "label", "cluster": "doc"}}
    desk.dataset(labelled(60), mapping=mapping)
    assert "quiz@1" in run("sets", "create", "quiz", "questions", "--split", "train").output
    assert "30" in run("sets", "list").output
    assert "question 0" in run("sets", "show", "quiz", "--limit", "60").output
    planned = run("plan", "quiz", "--minimum-effect", "0.05").output
    assert "Your 60 items can only see a difference of" in planned
    assert "Assumed: discordance 0.2, icc 0.3" in planned

    outside = ("--base-url", desk.outside.url, "--scorer", ACCURACY)
    output = run("run", "quiz", *outside, "--model", "good", "--name", "first").output
    assert "succeeded" in output
    assert "macro mean" in output
    good = json.loads(run("run", "quiz", *outside, "--model", "good", as_json=True).output)["id"]
    bad = json.loads(run("run", "quiz", *outside, "--model", "worse", as_json=True).output)["id"]
    bayes = run("baseline", "quiz", "questions", "--scorer", ACCURACY).output
    assert "naive bayes on questions" in bayes

    listed = run("list", "--set", "quiz").output
    assert "accuracy 0.333" in listed
    assert good in listed, "an id is never broken over two lines"
    assert run("runs", "list", "--set", "quiz").output == listed
    assert "macro mean" in run("runs", "show", good).output
    assert '{"type": "NUM"}' in run("runs", "items", good).output
    assert "No results." in run("runs", "items", good, "--failed").output

    question = ("--metric", "accuracy", "--minimum-effect", "0.1", "--guardrail", "-latency_ms=5000")
    verdict = run("compare", bad, good, *question).output
    assert "Verdict: pass" in verdict
    assert "30 clusters" in verdict
    assert run("compare", bad, good, *question, "--check").exit_code == 0
    assert run("compare", good, bad, *question, "--check").exit_code == 1
    verdict = json.loads(run("compare", good, bad, "--metric", "accuracy", "--margin", "0.1", as_json=True).output)
    assert verdict["outcome"] == "fail"


def test_a_release_is_shown_by_its_name(run: Run, desk: Desk) -> None:
    desk.dataset(labelled(12), mapping={"fields": {"text": "text", "label": "label", "cluster": "doc"}})
    run("sets", "create", "quiz", "questions", "--split", "train")
    with desk.kernel.write(OWNER) as ctx:
        lineage.record(ctx, lineage.LineageNode(id="rel_abc", kind="release", label="trec@1"))
    run_json = json.loads(
        run("run", "quiz", "--release", "rel_abc", "--scorer", ACCURACY, "--no-wait", as_json=True).output
    )
    assert run_json["release"] == "trec@1"
    newest = run("run", "quiz", "--release", "trec", "--scorer", ACCURACY, "--no-wait", as_json=True).output
    assert json.loads(newest)["spec"]["target"]["release"] == "trec@1"
    with pytest.raises(TargetInvalid, match="no release 'trek'") as unknown:
        run("run", "quiz", "--release", "trek", "--scorer", ACCURACY, "--no-wait")
    assert unknown.value.hint == "Did you mean trec?"
    for listing in (run("list").output, run("runs", "show", run_json["id"]).output):
        assert "trec@1" in listing
        assert "rel_abc" not in listing


def test_failures_stand_out(run: Run, desk: Desk) -> None:
    rows = [{"input": t, "expected": "x"} for t in ["refuse it", *(f"fine {i}" for i in range(7))]]
    desk.dataset(rows, "odd", row_schema="eval")
    run("sets", "create", "odd", "odd")
    output = run("run", "odd", "--base-url", desk.outside.url, "--model", "good", "--scorer", "contains").output
    assert "1 failures, in no metric: 1 http_400" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "quiz", "--scorer", "exact"), "Who should answer?"),
        (("run", "quiz", "--scorer", "exact", "--base-url", "http://x"), "needs the model's name"),
        (("run", "quiz", "--scorer", "exact:{", "--release", "a@1"), "are not JSON"),
        (("run", "quiz", "--scorer", "exact", "--release", ""), "release: must not be empty"),
        (("compare", "a", "b", "--metric", "m"), "What is asked"),
        (("compare", "a", "b", "--metric", "m", "--margin", "0.1", "--guardrail", "x"), "has no margin"),
        (("compare", "a", "b", "--metric", "m", "--margin", "0.1", "--failures", "maybe"), "failures"),
        (("plan", "quiz", "--pilot", "a", "b"), "metric"),
    ],
)
def test_wrong_wishes_say_what_to_write(run: Run, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        run(*arguments)


def test_how_a_scorer_is_written() -> None:
    assert scorer_spec("exact") == {"scorer": "exact"}
    assert scorer_spec('a=regex:{"pattern": "x=y"}') == {"scorer": "regex", "name": "a", "config": {"pattern": "x=y"}}


def test_every_command_has_its_help() -> None:
    for words in (["evals"], ["evals", "sets"], ["evals", "runs"], ["evals", "compare"], ["evals", "run"]):
        assert CliRunner().invoke(app, [*words, "--help"]).exit_code == 0


@pytest.mark.parametrize("columns", [60, 80, 400])
def test_a_confusion_matrix_is_shown_in_full_at_every_width(columns: int) -> None:
    labels = [f"department-{n}" for n in range(9)]
    report = label_report(labels * 3, [*labels, *labels, *labels[::-1]], labels)
    output = io.StringIO()
    console = Console(file=output, width=columns)
    for table in tables._labels(report, columns):
        console.print(table)
    text = output.getvalue()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= columns
    assert "…" not in text
    for label in [*labels, "(invalid)"]:
        assert f"→ {label}" in text
    assert text.count("macro mean") == 1
