"""Text that no database takes is refused from callers, and replaced where a program wrote it."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from tidemill.core.db import Database, TextUnfit
from tidemill.core.errors import Unavailable
from tidemill.core.text import caseless, shorten, storable, storable_value

HALF, WHOLE = "\ud83d", "\N{GRINNING FACE}"


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("plain", "plain"),
        ("ß 日本 ไทย " + WHOLE, "ß 日本 ไทย " + WHOLE),
        ("a\x00b", "a\ufffdb"),
        (f"a{HALF}b", "a\ufffdb"),
        (f"{HALF}\ude00", WHOLE),  # both halves, as two characters
        ("", ""),
    ],
)
def test_text_is_made_storable(text: str, stored: str) -> None:
    assert storable(text) == stored
    assert storable_value({text: [text, (text, 1, None)]}) == {stored: [stored, [stored, 1, None]]}


def test_the_database_says_what_text_it_cannot_hold(database_url: str) -> None:
    database = Database(database_url)
    try:
        with pytest.raises(TextUnfit), database.read() as conn:
            conn.execute(sa.text("SELECT :text"), {"text": f"a{HALF}"})
        if not database.is_sqlite:
            with pytest.raises(TextUnfit), database.read() as conn:
                conn.execute(sa.text("SELECT :text"), {"text": "a\x00"})
    finally:
        database.close()


def test_a_pool_in_full_use_is_said_and_no_fault(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'full.db'}", pool_size=1, overflow=0, patience_s=0.05)
    try:
        with database.read(), pytest.raises(Unavailable, match="in use"), database.read():
            pass
    finally:
        database.close()


FAMILY, GERMANY, FRANCE = "👩\u200d👩\u200d👧", "🇩🇪", "🇫🇷"


@pytest.mark.parametrize(
    ("text", "max_chars", "shown"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdef", 5, "abcd…"),
        ("abe\u0301d", 4, "ab…"),
        (f"a{FAMILY}b", 6, "a…"),
        (f"{GERMANY}{FRANCE}ab", 4, f"{GERMANY}…"),
        (f"{GERMANY}{FRANCE}ab", 5, f"{GERMANY}{FRANCE}…"),
        ("a👍🏽bc", 3, "a…"),
        ("नमस्ते जी", 6, "नमस्…"),
        ("a" + "\u0301" * 9, 4, "a\u0301\u0301…"),
    ],
)
def test_text_is_never_cut_inside_a_character(text: str, max_chars: int, shown: str) -> None:
    assert shorten(text, max_chars) == shown


@pytest.mark.parametrize(
    ("left", "right"),
    [("Straße", "STRASSE"), ("ΟΔΟΣ", "οδος"), ("Caf\u00e9", "CAFE\u0301"), ("\u0390", "\u03aa\u0301")],
)
def test_case_and_spelling_do_not_count(left: str, right: str) -> None:
    assert caseless(left) == caseless(right)
