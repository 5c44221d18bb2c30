"""`tidemill test`: exit codes, JUnit, cases from a file, and the third verdict."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tidemill.core.wire import utc_now
from tidemill.evals.types import EvalRun, Metric, RunCreate, RunMetrics
from tidemill.testing.tester import Inconclusive, ReleaseMissing, Tester

PASS = "def test_good(tidemill):\n    tidemill.share([True] * 100, least=0.9)\n"
OPEN = "def test_open(tidemill):\n    tidemill.share([True] * 9 + [False], least=0.9)\n"
FAIL = "def test_bad(tidemill):\n    tidemill.share([False] * 50, least=0.9)\n"
CASES = """\
import pytest

@pytest.mark.cases("cases.jsonl")
def test_case(case):
    assert len(case["question"]) > 3
"""


def run(home: Path, folder: Path, *options: str, **files: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"test_{name}.py").write_text(text)
    env = {**os.environ, "TIDEMILL_HOME": str(home), "COLUMNS": "200"}
    command = [sys.executable, "-m", "tidemill", "test", "--junit", "out.xml", *options]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.slow
def test_the_exit_code_is_the_verdict(home: Path, tmp_path: Path) -> None:
    # One server serves all, as in CI.
    folder = tmp_path / "ci"
    passed = run(home, folder, good=PASS)
    assert passed.returncode == 0, passed.stdout + passed.stderr
    result = run(home, folder, good=PASS, open=OPEN)
    assert result.returncode == 2, result.stdout + result.stderr
    assert "1 passed, 1 inconclusive" in result.stdout
    assert "9 of 10 pass (59.6% to 98.2%); 0.9 lies within: more items would tell" in result.stdout
    root = ElementTree.parse(folder / "out.xml").getroot()
    skipped = root.findall(".//skipped")
    assert [s.attrib["message"][:13] for s in skipped] == ["inconclusive:"]
    assert [p.attrib["value"] for p in root.findall(".//property")] == ["inconclusive"]


@pytest.mark.slow
def test_a_failure_weighs_more_than_a_doubt_and_cases_come_from_a_file(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ci"
    folder.mkdir()
    lines = [{"id": "opera", "question": "Who wrote Carmen?"}, {"question": "no"}]
    (folder / "cases.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = run(home, folder, "-v", open=OPEN, cases=CASES)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "test_case[opera] PASSED" in result.stdout
    assert "test_case[line2] FAILED" in result.stdout


def measured(mean: float | None, low: float | None, high: float | None) -> EvalRun:
    metric = Metric(name="accuracy", mean=mean, low=low, high=high, interval="wilson", items=90)
    figures = RunMetrics(
        items=90, answers=90, failures=0, cached=0, metrics=[metric], latency_p50_ms=None, latency_p95_ms=None,
        prompt_tokens=None, output_tokens=None, seconds=1.0, errors={},
    )  # fmt: skip
    spec = RunCreate.model_validate(
        {"eval_set": "q", "target": {"kind": "baseline", "dataset": "q@1"}, "scorers": [{"scorer": "exact"}]}
    )
    return EvalRun(
        id="er_1", name=None, eval_set_id="es_1", eval_set="q@1", spec=spec, state="succeeded", job_id=None,
        figures=figures, results_hash=None, error=None, created_at=utc_now(), created_by="x", started_at=None,
        finished_at=None,
    )  # fmt: skip


def test_a_metric_passes_only_when_its_whole_interval_does(client) -> None:
    tester = Tester(lambda: client, None)
    tester.at_least(measured(0.9, 0.85, 0.94), "accuracy", 0.85)
    with pytest.raises(AssertionError, match=r"at least 0\.95 is demanded"):
        tester.at_least(measured(0.9, 0.85, 0.94), "accuracy", 0.95)
    with pytest.raises(Inconclusive, match=r"0\.88 lies within"):
        tester.at_least(measured(0.9, 0.85, 0.94), "accuracy", 0.88)
    with pytest.raises(AssertionError, match="no metric 'f1'"):
        tester.at_least(measured(0.9, 0.85, 0.94), "f1", 0.5)
    with pytest.raises(AssertionError):
        tester.at_least(measured(None, None, None), "accuracy", 0.5)
    tester.share([True] * 100, 0.9)
    with pytest.raises(AssertionError, match="no cases"):
        tester.share([], 0.9)
    with pytest.raises(ReleaseMissing, match="tidemill test --release"):
        tester.under_test()


@pytest.mark.slow
def test_no_tests_and_a_broken_file_of_cases_are_told_apart(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ci"
    assert run(home, folder, "-k", "nothing", good="def test_x():\n    assert True\n").returncode == 5
    (folder / "cases.jsonl").write_text("{broken\n")
    result = run(home, folder, "test_cases.py", cases=CASES)
    assert result.returncode in (2, 4)
    assert "cases.jsonl:1: this is no JSON" in result.stdout + result.stderr


@pytest.mark.slow
def test_a_run_without_tests_says_so(home: Path, tmp_path: Path) -> None:
    done = run(home, tmp_path)
    assert done.returncode == 5
    assert "No test was found" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--release", "suport"], "--release suport: There is no release 'suport'."),
        (["--release", "support@9"], "There is no release 'support@9'."),
        (["--release", "prod/support"], "no deployment 'prod/support'"),
        ([], "no release is under test: run `tidemill test --release NAME@3`"),
    ],
)
def test_a_wrong_release_is_wrong_usage_and_no_failed_test(
    home: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    result = run(home, tmp_path / "ci", *options, ask="def test_ask(tidemill):\n    tidemill.ask('Hello?')\n")
    assert result.returncode == 4, result.stdout + result.stderr
    assert message in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr


def test_what_is_waited_for_is_printed_while_tests_are_captured(home: Path, tmp_path: Path) -> None:
    lines = ("print('captured')", "tidemill._report('quiz@1 answered by support@3: waiting')")
    code = "def test_wait(tidemill):\n" + "".join(f"    {line}\n" for line in lines)
    result = run(home, tmp_path / "ci", wait=code)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "  quiz@1 answered by support@3: waiting\n" in result.stdout
    assert "captured" not in result.stdout
