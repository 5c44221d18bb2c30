"""One corpus through import, cleaning, near-duplicates, tuning targets and scorers."""

import json
import unicodedata

import pytest

from tests.data.conftest import Desk, desk, jsonl
from tests.evals.test_scorers import value
from tests.scripts.corpus import CORPUS, ScriptText
from tidemill.core.labels import label_text
from tidemill.core.tokens import tokens
from tidemill.data.duplicates import meaning_keys, same_meaning
from tidemill.tuning import answer_template

__all__ = ["desk"]

every = pytest.mark.parametrize("case", CORPUS.values(), ids=CORPUS.keys())


@every
def test_tokens_tell_texts_apart_and_spellings_together(case: ScriptText) -> None:
    assert tokens(case.text) == tokens(case.spelling)
    assert tokens(case.text) != tokens(case.other)


@every
def test_a_near_duplicate_is_another_spelling_not_another_text(case: ScriptText) -> None:
    keys = meaning_keys(list(case), [""] * 3, documents=False)
    assert keys[0] == keys[2]
    assert same_meaning(case.text, case.spelling, documents=False)
    assert keys[0] != keys[1] or not same_meaning(case.text, case.other, documents=False)


@every
def test_scorers_know_right_from_wrong(case: ScriptText) -> None:
    assert value("normalised_match", case.text, case.spelling) == 1
    assert value("normalised_match", case.text, case.other) == 0
    assert value("rouge_l", case.text, case.text) == 1
    assert value("rouge_l", case.text, case.other) < 1
    assert value("exact", case.text, unicodedata.normalize("NFD", case.text)) == 1
    assert value("label_accuracy", case.text, json.dumps({"kind": case.text}), json_field="kind") == 1


@every
@pytest.mark.parametrize("template", ['{"kind": "{{label}}"}', "{{label}}"])
def test_a_target_reads_back(case: ScriptText, template: str) -> None:
    answer = answer_template.fill(template, case.text, row_id="r_1")
    label = json.loads(answer)["kind"] if template.startswith('{"') else answer
    assert label_text(label) == label_text(case.text)


def test_import_and_cleaning_keep_every_text(desk: Desk) -> None:
    texts = [text for case in CORPUS.values() for text in (case.text, case.other)]
    rows = [{"text": text, "label": text} for text in texts]
    version = desk.import_("corpus.jsonl", jsonl(*rows))
    composed = sorted(unicodedata.normalize("NFC", text) for text in texts)
    assert sorted(row["text"] for row in desk.rows(version)) == composed
    assert sorted(row["label"] for row in desk.rows(version)) == composed
