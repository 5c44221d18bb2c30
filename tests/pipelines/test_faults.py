"""Every fault of a document is shown at once, with its line, its word and the nearest right word."""

import re

import pytest

from tests.architecture.source import ROOT
from tests.pipelines.conftest import Desk
from tidemill.core.errors import TidemillError
from tidemill.pipelines import parse
from tidemill.pipelines.faults import MOST_FAULTS, Fault, to_error
from tidemill.pipelines.references import inner_faults
from tidemill.pipelines.types import PipelineInvalid
from tidemill.pipelines.yaml_locations import locate

FAULTY = """\
name: Question types
modle: smollm2
data:
  dataset: trec
  sources: [{path: questions.jsonl}]
  recipe:
    - step: length
      max_chars: many
    - step: whitespce
evals:
  - name: quiz
    scorers: [{scorer: label_accuracy}]
    limit: 0
gates:
  - name: better
    eval: quiz
    metric: label_accuracy
    kind: improvment
"""


def test_all_faults_of_a_file_are_named_by_their_lines() -> None:
    with pytest.raises(PipelineInvalid) as caught:
        parse.parse(locate(FAULTY, "tidemill.yaml"))
    lines = caught.value.message.splitlines()
    assert lines[0] == f"tidemill.yaml has {len(lines) - 1} faults:"
    assert [line.split(":")[1] for line in lines[1:]] == ["1", "2", "8", "9", "13", "18"]
    assert "'Question types' is no name" in lines[1]
    assert lines[2] == "  tidemill.yaml:2:1: 'modle' is no known key. Did you mean 'model'?"
    assert "'many' is no whole number" in lines[3]
    assert "Did you mean 'whitespace'?" in lines[4]
    assert "Did you mean 'improvement'?" in lines[6]
    assert [fault["path"][0] for fault in caught.value.details["faults"]] == [
        "name", "modle", "data", "data", "evals", "gates",
    ]  # fmt: skip


def test_all_faults_of_references_are_named_by_their_lines(desk: Desk) -> None:
    path = desk.write()
    path.write_text(
        "name: loop\n"
        "model: smolm2\n"
        "data:\n"
        "  dataset: questions\n"
        "  sources: [{path: questions.jsonl}]\n"
        "  split: {ratios: {train: 0.9, test: 0.1}}\n"
        "tuning: {train_split: train, eval_split: validation}\n"
        "evals:\n"
        "  - {name: quiz, split: tset, scorers: [{scorer: label_acuracy}]}\n"
    )
    with pytest.raises(PipelineInvalid) as caught:
        desk.pipelines.plan(path)
    lines = caught.value.message.splitlines()
    assert [line.split(":")[1] for line in lines[1:]] == ["7", "9", "9", "2"]
    assert lines[1].endswith(
        "tuning.eval_split: there is no split 'validation'. `data.split.ratios` makes train, test: add"
        " `validation: 0.1` there and take 0.1 from another, or name one of these."
    )
    assert "Did you mean 'test'?" in lines[2]
    assert "Did you mean 'label_accuracy'?" in lines[3]
    with pytest.raises(TidemillError) as again:
        desk.pipelines.apply(path)
    assert again.value.message == caught.value.message


def test_an_error_is_bounded() -> None:
    error = to_error([Fault(("evals", n), "is wrong") for n in range(MOST_FAULTS + 7)])
    assert error.message.splitlines()[-1] == "  and 7 more."
    assert len(error.details["faults"]) == MOST_FAULTS


def test_the_document_in_the_guide_is_one() -> None:
    text = (ROOT / "docs" / "guides" / "pipelines.md").read_text(encoding="utf-8")
    codes = [code for code in re.findall(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE) if "\nmodel:" in code]
    assert codes
    for code in codes:
        spec = parse.parse(locate(code, "guide.yaml"))
        assert list(inner_faults(spec)) == []
