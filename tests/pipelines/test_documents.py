"""Documents: every fault names its line, its column, the word, and the nearest right word."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.architecture.source import ROOT
from tests.docs.test_examples import refused as not_understood
from tests.pipelines.conftest import Desk, small
from tidemill.core.errors import TidemillError
from tidemill.pipelines import parse
from tidemill.pipelines.references import inner_faults
from tidemill.pipelines.step_registry import names
from tidemill.pipelines.types import PipelineInvalid, PipelineSpec, PipelineUnreadable
from tidemill.pipelines.yaml_locations import locate
from tidemill.server.reference import render_pipeline_schema

WHOLE = """\
name: question-types
model: smollm2
prompt:
  name: question-type
  system: Answer with the type.
data:
  dataset: trec
  sources:
    - path: questions.jsonl
  recipe:
    - step: whitespace
    - step: length
      max_chars: 400
  split:
    ratios: {train: 0.8, validation: 0.1, test: 0.1}
  feedback:
    per_user: 5
tuning:
  training:
    learning_rate: 1e-3
evals:
  - name: trec-test
    scorers:
      - scorer: label_accuracy
        name: accuracy
release:
  name: question-type
gates:
  - name: quality
    eval: trec-test
    metric: accuracy
    minimum_effect: 0.05
environments:
  - dev
  - name: prod
    approval: true
"""


def refused(text: str) -> PipelineInvalid:
    with pytest.raises(PipelineInvalid) as caught:
        parse.parse(locate(text, "tidemill.yaml"))
    return caught.value


def test_a_whole_document_is_read() -> None:
    spec = parse.parse(locate(WHOLE, "tidemill.yaml"))
    assert spec.tuning is not None
    assert spec.tuning.training.learning_rate == 1e-3
    assert [e.name for e in spec.environments] == ["dev", "prod"]
    assert spec.environments[1].approval is not None


@pytest.mark.parametrize(
    ("right", "wrong", "place", "word", "suggestion"),
    [
        ("tuning:", "tunning:", "18:1", "tunning", "tuning"),
        ("    learning_rate:", "    learning_rat:", "20:5", "learning_rat", "learning_rate"),
        ("      max_chars: 400", "      max_char: 400", "13:7", "max_char", "max_chars"),
        ("    per_user: 5", "    per_usr: 5", "17:5", "per_usr", "per_user"),
        ("    metric: accuracy", "    metrik: accuracy", "31:5", "metrik", "metric"),
        ("    approval: true", "    aproval: true", "36:5", "aproval", "approval"),
        ("  system: Answer", "  sytem: Answer", "5:3", "sytem", "system"),
        ("    - step: whitespace", "    - step: whitespce", "11:", "whitespce", "whitespace"),
    ],
)
def test_a_typing_error_is_shown_where_it_stands(
    right: str, wrong: str, place: str, word: str, suggestion: str
) -> None:
    assert right in WHOLE
    error = refused(WHOLE.replace(right, wrong, 1))
    assert error.message.startswith(f"tidemill.yaml:{place}"), error.message
    assert repr(word) in error.message
    assert error.hint is not None
    assert repr(suggestion) in error.hint


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("max_chars: 400", "max_chars: many", "tidemill.yaml:13:18: data.recipe.1.max_chars"),
        ("minimum_effect: 0.05", "margin: 0.05", "improvement gate needs `minimum_effect`"),
        ("name: question-types", "name: Question Types", "tidemill.yaml:1:7: name"),
        ("  dataset: trec\n", "", "tidemill.yaml:7:3: data: 'dataset' is missing"),
        ("test: 0.1}", "test: 0.3}", "add up to 1.2"),
    ],
)
def test_a_value_that_does_not_fit_is_shown_where_it_stands(right: str, wrong: str, message: str) -> None:
    assert right in WHOLE
    assert message in refused(WHOLE.replace(right, wrong, 1)).message


def test_a_word_that_is_there_twice_is_refused() -> None:
    assert "tidemill.yaml:2:1: 'name' is there twice, the first time in line 1" in refused("name: a\nname: b\n").message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [a", "tidemill.yaml:"),
        ("name: a\n\tmodel: b\n", "tidemill.yaml:2:1"),
        ("- a\n", "not a mapping"),
        ("", "not a mapping"),
        ("a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
         "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
         "e: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n", "more than 20000 words"),
        ("a: " + "[" * 3000, "tidemill.yaml"),
        ("name: \x00", "tidemill.yaml"),
    ],
)  # fmt: skip
def test_what_is_no_yaml_is_refused(text: str, message: str) -> None:
    with pytest.raises(PipelineUnreadable) as caught:
        locate(text, "tidemill.yaml")
    assert message in caught.value.message


def test_references_are_checked_and_shown_in_the_file(desk: Desk) -> None:
    cases = [
        ({"evals": [{**small()["evals"][0], "split": "tset"}]}, "tidemill.yaml:", "split 'tset'", "'test'"),
        ({"evals": [{**small()["evals"][0], "scorers": [{"scorer": "label_acuracy"}]}]},
         "tidemill.yaml:", "scorer 'label_acuracy'", "'label_accuracy'"),
        ({"model": "smolm2"}, "tidemill.yaml:", "smolm2", ""),
        ({"model": "x", "release": {"name": "r"}, "environments": ["prd"]}, "tidemill.yaml:", "'prd'", "'prod'"),
        ({"gates": [{"name": "g", "eval": "questions-test", "metric": "accurracy", "minimum_effect": 0.1}],
          "model": "x", "release": {"name": "r"}}, "tidemill.yaml:", "'accurracy'", "'accuracy'"),
        ({"environments": ["dev"]}, "tidemill.yaml:", "need a release", "release"),
    ]  # fmt: skip
    for more, place, word, suggestion in cases:
        path = desk.write(small(**more))
        with pytest.raises(PipelineInvalid) as caught:
            desk.pipelines.plan(path)
        assert place in caught.value.message
        assert word in caught.value.message
        assert suggestion in caught.value.message + (caught.value.hint or "")


def test_a_file_that_is_not_there_is_named(desk: Desk, tmp_path: Path) -> None:
    path = desk.write()
    (desk.folder / "questions.jsonl").unlink()
    with pytest.raises(TidemillError, match=r"questions\.jsonl"):
        desk.pipelines.plan(path)
    with pytest.raises(TidemillError, match=r"nothing\.yaml"):
        desk.pipelines.plan(tmp_path / "nothing.yaml")


def test_the_same_loop_in_python(desk: Desk) -> None:
    path = desk.write()
    desk.pipelines.apply(path)
    spec = PipelineSpec.model_validate(small())
    assert desk.pipelines.apply(spec, folder=desk.folder).changes == []


def test_the_order_of_the_splits_counts(desk: Desk) -> None:
    document = small()
    desk.pipelines.apply(desk.write(document))
    document["data"]["split"]["ratios"] = {"test": 0.3, "train": 0.7}
    assert desk.pipelines.apply(desk.write(document)).pipeline.number == 2


def test_a_plan_names_items_and_not_places(desk: Desk) -> None:
    document = small()
    desk.pipelines.apply(desk.write(document))
    document["evals"].insert(0, {**document["evals"][0], "name": "another"})
    document["data"]["split"]["seed"] = 4
    changes = desk.pipelines.plan(desk.write(document)).changes
    assert [(c.action, c.path, c.before, c.after) for c in changes if c.path.startswith("data")] == [
        ("change", "data.split.seed", 3, 4)
    ]
    assert [(c.action, c.path) for c in changes if c.path.startswith("evals")] == [("add", "evals.another")]


def test_the_schema_takes_what_we_take() -> None:
    schema = PipelineSpec.model_json_schema()
    assert schema["additionalProperties"] is False
    assert json.dumps(yaml.safe_load(WHOLE))
    environments = schema["properties"]["environments"]["items"]
    assert {"type": "string"} in environments["anyOf"]


def test_the_published_schema_is_current() -> None:
    page = (ROOT / "docs" / "reference" / "tidemill.schema.json").read_text(encoding="utf-8")
    assert page == render_pipeline_schema(), "Run `make reference`."


def test_the_example_is_a_document() -> None:
    spec, _ = parse.read(ROOT / "examples" / "tidemill.yaml")
    assert not list(inner_faults(spec))
    assert [n for n in names(spec) if "prod" in n] == ["approve/prod", "rollout/prod"]
    for name in ("github-actions.yml", "gitlab-ci.yml"):
        text = (ROOT / "examples" / name).read_text(encoding="utf-8")
        assert yaml.safe_load(text)
        for line in text.splitlines():
            for command in re.findall(r"tidemill (?:plan|apply|run|test)[^|\n]*", line):
                assert not_understood(command.split(" || ")[0].strip()) is None
