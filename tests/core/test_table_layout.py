"""Tables on narrow and wide terminals."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from rich.console import Console
from rich.text import Text

from tidemill.core.table_layout import all_columns, fit_columns, one_line, table_lines, total_width
from tidemill.core.terminal import Terminal

JOB = "job_06h2p8nm6xb464g6yx8r19mw"


class Row(BaseModel):
    name: str
    id: str
    state: str
    at: str
    note: str


ROWS = [
    Row(name="smollm2-trec", id=JOB, state="succeeded", at="2026-11-30 06:27:03", note="what was said of it " * 9),
    Row(name="日本語のデータ", id=JOB, state="failed", at="2026-11-30 06:27:04", note="one line\nand another"),
]
COLUMNS = [(name, name) for name in Row.model_fields]


def printed(width: int, *, wide: bool = False) -> str:
    """The rows as they stand on a terminal of this width."""
    out = Console(file=io.StringIO(), width=width, force_terminal=True, no_color=True, legacy_windows=False)
    Terminal(connect=lambda workers: None, wide=wide, out=out).table(ROWS, COLUMNS, empty="Nothing.")  # type: ignore[arg-type, return-value]
    text = out.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(Text.from_ansi(line).plain.rstrip() for line in text.splitlines())


def test_each_value_takes_one_line_and_ids_stay_whole() -> None:
    for width in (60, 80, 100, 140):
        lines = printed(width).splitlines()
        assert max(Text(line).cell_len for line in lines[:3]) <= width
        assert all(JOB in line for line in lines[1:3])
        assert "succeeded" in lines[1]
        assert "failed" in lines[2]


def test_what_is_left_out_is_named() -> None:
    text = printed(60)
    assert "2026-11-30" not in text
    assert "Left out for want of room: at, note. --wide shows all." in text
    assert "Left out" not in printed(140)


def test_text_is_cut_before_a_column_is_left_out() -> None:
    line = printed(100).splitlines()[1]
    assert "2026-11-30 06:27:03" in line
    assert line.endswith("…")


def test_wide_shows_everything() -> None:
    text = printed(40, wide=True)
    assert ROWS[0].note.strip() in text
    assert "one line and another" in text


def test_a_reader_that_is_no_terminal_gets_everything() -> None:
    out = Console(file=io.StringIO(), width=80, _environ={})
    Terminal(connect=lambda workers: None, out=out).table(ROWS, COLUMNS, empty="Nothing.")  # type: ignore[arg-type, return-value]
    assert ROWS[0].note.strip() in out.file.getvalue()  # type: ignore[attr-defined]


LONG_TEXTS = {
    "English": "who wrote the opera Carmen " * 8,
    "Chinese": "请问卡门这部歌剧的作曲家是谁" * 8,
    "Thai": "ใครเป็นผู้แต่งโอเปร่าเรื่องคาร์เมน" * 6,
    "Japanese": "カルメンの作曲家は誰ですか" * 8,
}


@pytest.mark.parametrize("text", LONG_TEXTS.values(), ids=LONG_TEXTS)
def test_long_text_is_cut_and_not_left_out_in_every_script(text: str) -> None:
    rows = [[Text(JOB), Text(text), Text("failed")]]
    layouts = fit_columns(["id", "text", "state"], rows, 80)
    assert [layout.index for layout in layouts] == [0, 1, 2]
    cut = one_line(rows[0][1], layouts[1].width)
    assert cut.plain.endswith("…")
    assert cut.cell_len <= layouts[1].width


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\t", "\x85", "\u2028"])
def test_every_line_separator_becomes_a_blank(separator: str) -> None:
    assert one_line(Text(f"one{separator}two"), 20).plain == "one two"


CELLS = st.text(st.characters(blacklist_categories=["Cs"]), max_size=60)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=5), st.integers(20, 200))
def test_rows_never_exceed_the_width_unless_the_first_column_does(
    cells: list[tuple[str, str, str]], width: int
) -> None:
    rows = [[Text(cell) for cell in row] for row in cells]
    headings = ["name", "what it says", "state"]
    layouts = fit_columns(headings, rows, width)
    assert layouts[0].index == 0
    assert len(layouts) == 1 or total_width(layouts) <= width
    for row in rows:
        for layout in layouts:
            assert one_line(row[layout.index], layout.width).cell_len <= layout.width
    assert total_width(all_columns(headings, rows)) >= total_width(layouts)


@pytest.mark.parametrize("width", [20, 30, 45, 60, 100])
def test_what_failed_never_looks_good(width: int) -> None:
    headings = ["call", "model", "tokens", "status"]
    rows = [
        [Text("chatcmpl-01kaf3x5m1n8q2r4t6v8w0y2"), Text("hello@1"), Text("12 + 7"), Text(status)]
        for status in ("ok", "error (context_length_exceeded)")
    ]
    lines = [str(line) for line in table_lines(headings, rows, fit_columns(headings, rows, width))]
    assert all(len(line) <= width for line in lines)
    assert lines[0].split()[-1] == "status"
    assert lines[-2].endswith("ok")
    assert " error" in lines[-1]
