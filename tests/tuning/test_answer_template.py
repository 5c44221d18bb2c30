"""The answers that a tuning run learns for labels."""

import json

import pytest

from tidemill.tuning import answer_template, examples
from tidemill.tuning.types import AnswerTemplateInvalid


@pytest.mark.parametrize("label", ['24" monitor', "C:\\temp", "plain", "a\nb", "{{label}}", "日本", "\\", "é\u0000"])
@pytest.mark.parametrize("template", ['{"kind": "{{label}}"}', '{"a": "\\"", "kind": "{{ label }}"}'])
def test_a_json_target_reads_back_with_its_label(template: str, label: str) -> None:
    answer = answer_template.fill(template, label, row_id="r_1")
    assert json.loads(answer)["kind"] == label


@pytest.mark.parametrize(("label", "value"), [("5", 5), ("true", True), ("0.5", 0.5)])
def test_a_label_outside_quotes_is_a_json_value(label: str, value: object) -> None:
    assert json.loads(answer_template.fill('{"stars": {{label}}}', label, row_id="r_1")) == {"stars": value}


@pytest.mark.parametrize("label", ["good", "007", "NaN", "null", '"5"', "[1]", "5.0"])
def test_a_label_that_breaks_the_json_is_refused_with_its_row(label: str) -> None:
    with pytest.raises(AnswerTemplateInvalid, match="row r_1"):
        answer_template.fill('{"stars": {{label}}}', label, row_id="r_1")


def test_other_templates_take_the_label_as_it_is() -> None:
    assert answer_template.fill('Kind: "{{label}}"', 'a "b"', row_id="r_1") == 'Kind: "a "b""'
    row = {"id": "r_1", "text": "q", "label": 'a "b"'}
    assert examples.chat_of(row, "classification", [], None)[-1]["content"] == 'a "b"'


@pytest.mark.parametrize("template", ['{"kind": "{{lable}}"}', "{{ Label }}", "{{}} {{label}}", '{"kind": "label"}'])
def test_a_template_with_a_hole_or_without_the_label_is_refused(template: str) -> None:
    with pytest.raises(AnswerTemplateInvalid, match="answer template") as caught:
        answer_template.check(template)
    assert "{{label}}" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "template",
    [
        '```json\n{"kind": "{{label}}"}\n```',
        '```json\n{\n  "kind": "{{label}}"\n}\n```\nThat is "{{label}}".',
        'Answer:\n{"kind": "{{label}}"}',
        '{"kind": "{{label}}"}\n{"kind": "{{label}}", "sure": true}',
    ],
)
def test_json_in_lines_and_fences_stays_json(template: str) -> None:
    answer = answer_template.fill(template, '24" monitor', row_id="r_1")
    body = answer.partition("```json\n")[2].partition("\n```")[0] or answer.partition("Answer:\n")[2] or answer
    documents = [body] if body.count('"kind"') == 1 else body.splitlines()
    assert all(json.loads(document)["kind"] == '24" monitor' for document in documents)


def test_null_outside_quotes_would_be_no_label() -> None:
    with pytest.raises(AnswerTemplateInvalid, match="would not be read back"):
        answer_template.fill('{"stars": {{label}}}', "null", row_id="r_1")
    assert answer_template.fill('{"stars": "{{label}}"}', "null", row_id="r_1") == '{"stars": "null"}'
