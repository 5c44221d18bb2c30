"""Near-duplicates: what may go, and what stays because it teaches something else."""

import re
from pathlib import Path

import pytest

from tests.data.conftest import Desk, jsonl
from tidemill.data import types
from tidemill.data.duplicates import find_duplicates, meaning_keys, same_meaning
from tidemill.data.groups import MinHashIndex

BAKERY = (
    "A bakery sold {} loaves of rye bread in the morning and {} loaves of wheat bread in the afternoon of the same "
    "day. How many more loaves of rye than of wheat did it sell?"
)


def texts_of(desk: Desk, version: types.DatasetVersion, field: str = "text") -> list[str]:
    return [row[field] for row in desk.rows(version)]


def test_no_class_is_lost_to_texts_that_are_alike(desk: Desk) -> None:
    rows = [
        {"text": f"Which library opens file {n * 7919} in {word} quickly?", "label": label}
        for n in range(10)
        for word, label in (("C++", "cpp"), ("C#", "csharp"), ("C", "c"))
    ]
    version = desk.import_("langs.jsonl", jsonl(*rows), row_schema="classification")
    assert version.rows == 30
    assert {label: splits["train"] for label, splits in version.statistics.labels.items()} == {
        "c": 10,
        "cpp": 10,
        "csharp": 10,
    }


def test_rows_with_other_numbers_and_answers_are_kept(desk: Desk) -> None:
    rows = [{"prompt": BAKERY.format(a, 80 - a), "completion": str(2 * a - 80)} for a in range(10, 60)]
    assert desk.import_("sums.jsonl", jsonl(*rows)).rows == 50


def test_a_word_that_turns_the_meaning_keeps_the_row(desk: Desk) -> None:
    start = "Dear customer service team, the parcel that I ordered from you in the spring "
    rows = [
        {"text": start + word, "label": label} for word, label in (("has now arrived", "a"), ("has not arrived", "b"))
    ]
    rows += [{"text": start + "has not arrived", "label": "b"}, {"text": start + "HAS NOT ARRIVED!", "label": "b"}]
    version = desk.import_("parcels.jsonl", jsonl(*rows))
    assert texts_of(desk, version) == [rows[0]["text"], rows[1]["text"]]


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("Where is the old lighthouse of Cork?", "where is the old lighthouse of Cork", True),
        ("Please tell me where the lighthouse is", "Tell me where the lighthouse is", True),
        ("It costs 10 euros", "It costs 11 euros", False),
        ("The change was -5 degrees", "The change was 5 degrees", False),
        ("The rate is 3.14 percent", "The rate is 314 percent", False),
        ("a program in C++", "a program in C", False),
        ("a program in C#", "a program in C++", False),
        ("What is a fear of cold?", "What is a fear of color?", False),
        ("the letter B of the code", "the letter F of the code", False),
        ("The train to Berlin is late", "The train is late", False),
        ("I can do that", "I can't do that", False),
        ("Der Zug ist nicht da", "Der Zug ist da", False),
        ("Поезд не пришёл", "Поезд пришёл", False),
        ("北京明天下雨", "北京明天不下雨", False),
        ("北京明天下雨。", "北京明天下雨", True),
        ("١٢ يوما", "١٣ يوما", False),
        ("cafe\u0301 noir", "café noir", True),
        ("１２ Uhr", "12 Uhr", True),
    ],
)
def test_what_counts_as_the_same(left: str, right: str, same: bool) -> None:
    keys = meaning_keys([left, right], ["", ""], documents=False)
    assert (bool(keys[0] == keys[1]) and same_meaning(left, right, documents=False)) == same


def test_chat_rows_with_other_answers_are_kept_and_the_option_drops_them(desk: Desk) -> None:
    question = "Which of the rivers of the northern provinces is the longest one of all of them?"
    rows = [
        {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        for answer in ("It is the Esk.", "It is the Tay.", "It is the  Tay.")
    ]
    steps = [{"step": "near_duplicates", "threshold": 0.7}]
    version = desk.import_("chat.jsonl", jsonl(*rows), recipe={"steps": steps})
    assert version.rows == 2
    version = desk.import_("chat.jsonl", jsonl(*rows), recipe={"steps": [steps[0] | {"same_meaning": False}]})
    assert (version.rows, version.steps[0].figures) == (1, {"other_answer": 2})


def test_a_dropped_row_is_near_to_the_row_that_stays_not_to_one_that_went(tmp_path: Path) -> None:
    words = [f"word{'abcdefghijklmnopqrst'[n]}" for n in range(20)]
    texts = [" ".join(words[:count]) for count in range(20, 5, -1)]  # each is near to the next
    index = MinHashIndex(tmp_path, threshold=0.8, ngram=5, text_of=texts.__getitem__)
    index.add(texts)
    like = find_duplicates(index, lambda *_: True, lambda: None)
    assert like[0] == -1
    assert sum(like == -1) > 2
    for row in range(len(texts)):
        if like[row] >= 0:
            assert like[like[row]] == -1
            assert index.similarity(row, int(like[row])) >= 0.8
    kept = [row for row in range(len(texts)) if like[row] == -1]
    assert all(index.similarity(a, b) < 0.8 for a in kept for b in kept if a < b)


def test_thousands_of_rows_of_one_pattern_stay_fast_and_stay(tmp_path: Path) -> None:
    names = ["".join(chr(97 + n // 26**place % 26) for place in range(3)) for n in range(1500)]
    texts = [f"please explain to a beginner what the short word {name} means in this long sentence" for name in names]
    index = MinHashIndex(tmp_path, threshold=0.8, ngram=5, text_of=texts.__getitem__)
    index.add(texts, meaning_keys(texts, [""] * len(texts), documents=False))
    calls = []

    def same(left: int, right: int) -> bool:
        calls.append(left)
        return same_meaning(texts[left], texts[right], documents=False)

    like = find_duplicates(index, same, lambda: None)
    assert (like == -1).all()
    assert len(calls) <= 4 * len(texts) * index.bands


def test_long_documents_go_by_their_similarity(desk: Desk) -> None:
    article = " ".join(f"sentence about the {word} of the town." for word in re.findall(r"\w+", BAKERY * 3))
    version = desk.import_("a.jsonl", jsonl({"text": article}, {"text": article.replace("rye", "oat", 1) + " Not so."}))
    assert version.rows == 1


def test_a_class_that_cleaning_emptied_is_reported(desk: Desk) -> None:
    rows = [{"text": f"the tall tower of town number {n}", "label": "a"} for n in range(4)]
    rows += [{"text": "", "label": "empty"}, {"text": rows[0]["text"], "label": "other"}]
    version = desk.import_("a.jsonl", jsonl(*rows))
    steps = {step.step: step for step in version.steps}
    assert steps["exact_duplicates"].figures == {"other_label": 1}
    assert steps["classes"].figures == {"emptied": 2}
    assert [example.source for example in steps["classes"].examples] == ["empty", "other"]


def test_a_split_of_rows_that_belong_together_says_so(desk: Desk) -> None:
    rows = [{"prompt": BAKERY.format(a, 80 - a), "completion": str(2 * a - 80)} for a in range(10, 60)]
    with pytest.raises(types.SplitEmpty) as caught:
        desk.import_("sums.jsonl", jsonl(*rows), split={"ratios": {"train": 0.8, "test": 0.2}})
    assert "the 50 rows make 1 group:" in (caught.value.hint or "")
    split = {"ratios": {"train": 0.8, "test": 0.2}, "near_duplicates": None}
    assert desk.import_("sums.jsonl", jsonl(*rows), split=split).rows == 50


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (
            "今日の東京の気温はとても寒くて、朝の時点で-5度でした。",
            "今日の東京の気温はとても寒くて、朝の時点で5度でした。",
        ),
        ("Which new features came with Python 3.10 for all?", "Which new features came with Python 3.1 for all?"),
        ("It is -5kg lighter than the other one now", "It is 5kg lighter than the other one now"),
        ("The balance is -$5 after the last booking", "The balance is $5 after the last booking"),
        ("Le taux est de 3٫5٪ cette année encore", "Le taux est de 3٫5 cette année encore"),
    ],
)
def test_signs_units_and_versions_make_another_text(left: str, right: str) -> None:
    keys = meaning_keys([left, right], ["", ""], documents=False)
    assert keys[0] != keys[1]
    assert not same_meaning(left, right, documents=False)


def test_long_texts_with_words_left_out_are_compared_in_linear_time() -> None:
    words = [f"w{chr(97 + n % 26)}{chr(97 + n // 26 % 26)}{chr(97 + n // 676 % 26)}" for n in range(17_000)]
    long = " ".join(words).capitalize()
    short = " ".join(word for n, word in enumerate(words) if n % 8 != 1)
    assert same_meaning(long, short, documents=False)
    assert not same_meaning(long + " Paris is it", short + " is it", documents=False)
