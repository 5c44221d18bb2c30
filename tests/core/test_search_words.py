"""Words of texts and queries in every script."""

import pytest

from tidemill.core.search_words import coarse_words, find_words, fold, index_words, split_words


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("今天天气怎么样？", "天气"),
        ("請打開settings頁面", "settings"),
        ("Straße", "STRASSE"),
        ("İstanbul", "istanbul"),
        ("ISPARTA", "ısparta"),
        ("ΟΔΟΣ", "οδός"),
        ("שָׁלוֹם", "שלום"),
        ("می\u200cبارد", "میبارد"),
        ("ｶﾞｷﾞ", "ガギ"),
        ("\u1102\u1162\u110b\u1175\u11af", "내일"),
        ("ราคา ๑๒ บาท", "12"),
        ("Trời", "tro\u031b\u0300i"),
        ("ﬁne", "fine"),
    ],
)
def test_a_part_of_a_text_is_found_in_any_spelling(text: str, query: str) -> None:
    assert set(split_words(query)) <= index_words(text)
    assert coarse_words(query) <= coarse_words(text)


@pytest.mark.parametrize(("text", "query"), [("天气", "气天"), ("बारिश", "बरश"), ("settings", "setting"), ("ฝน", "ฝ้น")])
def test_another_word_is_not(text: str, query: str) -> None:
    assert not set(split_words(query)) <= index_words(text)


def test_what_is_no_word_is_none() -> None:
    assert split_words(' "*( ! ') == []
    assert split_words("") == []


@pytest.mark.parametrize(
    ("text", "query", "marked"),
    [
        ("Wie heißt die Straße in Köln?", "STRASSE koln", ["Straße", "Köln"]),
        ("東京タワーの高さ", "タワー", ["タワー"]),
        ("in Kо\u0308ln, cafe\u0301s", "cafés", ["cafe\u0301s"]),
        ("abc", "x", []),
    ],
)
def test_matches_are_shown_where_they_stand(text: str, query: str, marked: list[str]) -> None:
    assert [text[start:end] for start, end in find_words(text, query)] == marked


def test_folding_again_changes_nothing() -> None:
    for text in ("İIıi", "ΐ", "ﬃ", "ǅ", "ẞ", "٣"):
        assert fold(fold(text)) == fold(text)
