"""Which columns of a table fit a terminal, and how wide each is.

Ids, names, states and times stay whole. Longer text is cut to one line. When that is not enough, the least
important columns are left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

GAP = 2
"""Blanks between two columns."""
TEXT_MINIMUM = 16
"""Characters that a column of text keeps; with less it says nothing."""
LONGEST_WHOLE = 24
"""A longer cell with a space or a character outside ASCII is text, which may be cut: not all scripts put spaces between
words. Ids, references and times have neither, or are shorter."""

NARROWEST = 8
"""Characters that stay of the first column, and of those that say how a thing stands, on the narrowest terminal."""

_KEPT = ("state", "status", "verdict")


@dataclass(frozen=True)
class ColumnLayout:
    """One column that is shown: its place in the rows and its width in characters."""

    index: int
    width: int


def fit_columns(headings: Sequence[str], rows: Sequence[Sequence[Text]], width: int) -> list[ColumnLayout]:
    """Choose columns and widths so that each row takes one line of `width` characters.

    The first column always stays, and so do columns that say how a thing stands: what failed must never look good, so
    at the very last the first column is cut. Others are left out from the right.
    """
    columns = list(range(len(headings)))
    natural = [_natural_width(headings[n], [row[n] for row in rows]) for n in columns]
    texts = {n for n in columns if any(_is_text(row[n]) for row in rows)}
    minimum = [
        min(natural[n], max(TEXT_MINIMUM, _longest_word(headings[n]))) if n in texts else natural[n] for n in columns
    ]
    while _total([minimum[n] for n in columns]) > width and (n := _least_important(headings, columns)) is not None:
        columns.remove(n)
    for n in columns if len(columns) > 1 else ():
        excess = max(_total([minimum[n] for n in columns]) - width, 0)
        minimum[n] -= min(excess, max(minimum[n] - NARROWEST, 0))
    while len(columns) > 1 and _total([minimum[n] for n in columns]) > width:
        columns.pop()
    spare = width - _total([minimum[n] for n in columns])
    layouts = []
    growing = sorted((n for n in columns if n in texts), key=lambda n: natural[n])
    extra = dict.fromkeys(columns, 0)
    for waiting, n in zip(range(len(growing), 0, -1), growing, strict=True):
        extra[n] = max(min(natural[n] - minimum[n], spare // waiting), 0)
        spare -= extra[n]
    for n in columns:
        width_of_cells = minimum[n] + extra[n]
        heading = max(min(cell_len(headings[n]) - width_of_cells, spare), 0)
        spare -= heading
        layouts.append(ColumnLayout(index=n, width=width_of_cells + heading))
    return layouts


def all_columns(headings: Sequence[str], rows: Sequence[Sequence[Text]]) -> list[ColumnLayout]:
    """Return every column at the width of its widest cell."""
    return [
        ColumnLayout(index=n, width=max(_natural_width(heading, [row[n] for row in rows]), cell_len(heading)))
        for n, heading in enumerate(headings)
    ]


def total_width(layouts: Sequence[ColumnLayout]) -> int:
    """Characters of a row, with the gaps."""
    return _total([layout.width for layout in layouts])


def table_lines(
    headings: Sequence[str], rows: Sequence[Sequence[Text]], layouts: Sequence[ColumnLayout]
) -> Iterator[Text]:
    """Yield the lines of a table. A heading of several words may take several lines, a row takes one."""
    parts = [_heading_lines(headings[layout.index], layout.width) for layout in layouts]
    for number in range(max(map(len, parts))):
        cells = [Text(part[number] if number < len(part) else "", style="bold") for part in parts]
        yield _join_cells(cells, layouts)
    for row in rows:
        yield _join_cells([one_line(row[layout.index], layout.width) for layout in layouts], layouts)


def _heading_lines(heading: str, width: int) -> list[str]:
    lines: list[str] = []
    for word in heading.split():
        if lines and cell_len(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines or [""]


def _join_cells(cells: Sequence[Text], layouts: Sequence[ColumnLayout]) -> Text:
    line = Text()
    for cell, layout in zip(cells, layouts, strict=True):
        line.append_text(cell)
        line.append(" " * (layout.width - cell.cell_len + GAP))
    line.rstrip()
    return line


def one_line(cell: Text, width: int) -> Text:
    """Return the cell on one line of at most `width` characters; what is cut ends in an ellipsis."""
    if "\t" in cell.plain or len(cell.plain.splitlines()) > 1:
        cell = Text(" ".join(cell.plain.split()), style=cell.style)
    else:
        cell = cell.copy()
    cell.truncate(width, overflow="ellipsis")
    return cell


def _natural_width(heading: str, cells: Sequence[Text]) -> int:
    return max([_longest_word(heading), *(Text(" ".join(cell.plain.splitlines())).cell_len for cell in cells)])


def _longest_word(heading: str) -> int:
    return max((cell_len(word) for word in heading.split()), default=0)


def _is_text(cell: Text) -> bool:
    return cell.cell_len > LONGEST_WHOLE and (len(cell.plain.split()) > 1 or not cell.plain.isascii())


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _least_important(headings: Sequence[str], columns: Sequence[int]) -> int | None:
    """Return the column to leave out next; None when all that are left have to stay."""
    plain = [n for n in columns[1:] if headings[n] not in _KEPT]
    return plain[-1] if plain else None
