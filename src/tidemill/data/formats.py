"""Files as chunks of records: JSONL, CSV, Parquet, and lines that fit a pattern."""

import csv
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec
import re2

from tidemill.core.parsing import parse_json_halves
from tidemill.data.lines import MAX_RECORD_CHARS, line_blocks, open_source, too_long
from tidemill.data.types import (
    CsvRagged,
    FileEmpty,
    FileFormat,
    HeaderDuplicate,
    LineUnmatched,
    PatternInvalid,
    ReadSpec,
    RecordMalformed,
    RecordNotObject,
    SourceUnreadable,
)

CHUNK_ROWS = 4096
CHUNK_CHARS = 4 << 20
"""A chunk ends with the row that reaches either bound, so that long rows do not add up in memory."""

MISSING: Any = type("Missing", (), {"__repr__": lambda _: "nothing"})()
"""Stands where a JSON object lacks a key."""


class Chunk(Protocol):
    """Some records of one file."""

    lines: list[int]
    repaired: Sequence[int]
    """Lines in which U+FFFD stands for half of a surrogate pair."""

    def names(self) -> list[str]:
        """Return the names of the columns that these records have."""

    def column(self, name: str) -> list[Any]:
        """Return the values of one column; MISSING where a record has none."""


class TableChunk:
    """Records of a file with one header."""

    def __init__(self, header: list[str], columns: list[list[Any]], lines: list[int]) -> None:
        self.header = header
        self.columns = dict(zip(header, columns, strict=True))
        self.lines = lines
        self.repaired: Sequence[int] = ()

    def names(self) -> list[str]:
        """Return the names of the columns."""
        return self.header

    def column(self, name: str) -> list[Any]:
        """Return the values of a column."""
        return self.columns[name]


class ObjectChunk:
    """Records that are JSON objects, each with its own keys."""

    def __init__(self, objects: list[dict[str, Any]], lines: list[int], repaired: Sequence[int] = ()) -> None:
        self.objects = objects
        self.lines = lines
        self.repaired = repaired

    def names(self) -> list[str]:
        """Return the keys in order of first appearance; keys of nested objects as `outer.inner`."""
        names: dict[str, None] = {}
        for record in self.objects:
            for key, value in record.items():
                names.setdefault(key)
                if isinstance(value, dict):
                    for inner in value:
                        names.setdefault(f"{key}.{inner}")
        return list(names)

    def column(self, name: str) -> list[Any]:
        """Return the value of a key in every object; a dotted name reads nested objects."""
        if "." not in name:
            return [record.get(name, MISSING) for record in self.objects]
        return [_walk(record, name) for record in self.objects]


def _walk(record: dict[str, Any], name: str) -> Any:
    if name in record:
        return record[name]
    value: Any = record
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            return MISSING
        value = value[part]
    return value


def read_chunks(path: Path, name: str, kind: FileFormat, spec: ReadSpec) -> Iterator[Chunk]:
    """Yield the records of one file in chunks of bounded size. Raises FileEmpty when there is none."""
    rows = 0
    with open_source(path, name) as file:
        for chunk in _READERS[kind](file, name, spec):
            rows += len(chunk.lines)
            yield chunk
    if rows == 0:
        raise FileEmpty(f"{name} holds no rows.", hint="Is it the right file?", details={"file": name})


def _read_jsonl(file: BinaryIO, name: str, spec: ReadSpec) -> Iterator[Chunk]:
    decode = msgspec.json.Decoder().decode
    objects: list[dict[str, Any]] = []
    lines: list[int] = []
    repaired: list[int] = []
    chars = 0
    for number, line in enumerate(itertools.chain.from_iterable(line_blocks(file, name, spec.encoding)), 1):
        if not line.strip():
            continue
        try:
            record = decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            try:
                record = parse_json_halves(line)
            except ValueError:
                raise _bad_json(name, number, line, str(error)) from error
            repaired.append(number)
        if type(record) is not dict:
            raise RecordNotObject(
                f"Line {number} of {name} is a JSON {_json_kind(record)}, not an object: {_short(line)}",
                hint='Each line must be one object with named fields, such as {"text": ..., "label": ...}.'
                if not isinstance(record, list)
                else "A JSON array? Write one object per line: jq -c '.[]' file.json > file.jsonl",
                details={"line": number},
            )
        objects.append(record)
        lines.append(number)
        chars += len(line)
        if len(objects) >= CHUNK_ROWS or chars >= CHUNK_CHARS:
            yield ObjectChunk(objects, lines, repaired)
            objects, lines, repaired, chars = [], [], [], 0
    if objects:
        yield ObjectChunk(objects, lines, repaired)


def _bad_json(name: str, number: int, line: str, reason: str) -> RecordMalformed:
    array = line.lstrip().startswith("[") and number == 1
    return RecordMalformed(
        f"Line {number} of {name} is not JSON: {reason}. It begins {_short(line)}",
        hint="A JSON array over several lines? Write one object per line: jq -c '.[]' file.json > file.jsonl"
        if array
        else "JSONL has one whole JSON object per line. For another format give --format.",
        details={"line": number},
    )


def _json_kind(value: Any) -> str:
    kinds = {list: "array", str: "string", int: "number", float: "number", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), type(value).__name__)


def _short(text: str, limit: int = 60) -> str:
    text = text.strip()
    return repr(text if len(text) <= limit else text[:limit] + "...")


def _read_csv(file: BinaryIO, name: str, spec: ReadSpec) -> Iterator[Chunk]:
    csv.field_size_limit(MAX_RECORD_CHARS)  # a setting of the whole process; the default of 128 KiB is too low
    text = itertools.chain.from_iterable(line_blocks(file, name, spec.encoding))
    first = next(text, "")
    reader = csv.reader(itertools.chain([first], text), delimiter=spec.delimiter or guess_delimiter(first), strict=True)
    header = _header(next(_csv_rows(reader, name), []), name)
    width = len(header)
    records: list[list[str]] = []
    lines: list[int] = []
    chars = 0
    begin = reader.line_num + 1
    for record in _csv_rows(reader, name):
        if len(record) != width:
            if not record:
                begin = reader.line_num + 1
                continue
            raise CsvRagged(
                f"Line {begin} of {name} has {len(record)} columns, the header has {width}.",
                hint="Quote values that contain the delimiter, or give the right one with --delimiter.",
                details={"line": begin, "expected": width, "found": len(record)},
            )
        records.append(record)
        lines.append(begin)
        chars += sum(map(len, record))
        begin = reader.line_num + 1
        if len(records) >= CHUNK_ROWS or chars >= CHUNK_CHARS:
            yield _csv_chunk(header, records, lines)
            records, lines, chars = [], [], 0
    if records:
        yield _csv_chunk(header, records, lines)


def _csv_chunk(header: list[str], records: list[list[str]], lines: list[int]) -> Chunk:
    return TableChunk(header, [list(column) for column in zip(*records, strict=True)], lines)


def _csv_rows(reader: Any, name: str) -> Iterator[list[str]]:
    while True:
        begin = reader.line_num + 1
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "field limit" in str(error):
                raise too_long(name, begin) from error
            raise RecordMalformed(
                f"The CSV record at line {begin} of {name} cannot be read: {error}.",
                hint="Look for a quote that is never closed, or give --delimiter.",
                details={"line": begin},
            ) from error


def _header(record: list[str], name: str) -> list[str]:
    header = [cell.strip() for cell in record]
    names: set[str] = set()
    for place, cell in enumerate(header, 1):
        if not cell and len(header) > 1:
            header[place - 1] = f"column_{place}"
        elif cell in names:
            raise HeaderDuplicate(
                f"The header of {name} has the column {cell!r} twice (again at place {place}).",
                hint="Rename one of them.",
                details={"column": cell},
            )
        names.add(cell)
    return header


def guess_delimiter(header: str) -> str:
    """Return the delimiter that a CSV header suggests."""
    counts = {mark: header.count(mark) for mark in (",", ";", "\t", "|")}
    best = max(counts, key=lambda mark: counts[mark])
    return best if counts[best] else ","


def _read_parquet(file: BinaryIO, name: str, spec: ReadSpec) -> Iterator[Chunk]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file)
        header = _header(table.schema_arrow.names, name)
        begin = 1
        for batch in table.iter_batches(batch_size=_parquet_rows(table)):
            yield TableChunk(
                header, [column.to_pylist() for column in batch.columns], list(range(begin, begin + batch.num_rows))
            )
            begin += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise SourceUnreadable(
            f"{name} is not a readable Parquet file: {str(error).splitlines()[0]}",
            hint="Is it whole? For another format give --format.",
            param="path",
        ) from error


def _parquet_rows(table: Any) -> int:
    """Return how many rows of the widest row group make a chunk."""
    groups = [table.metadata.row_group(number) for number in range(table.num_row_groups)]
    widest = max((group.total_byte_size / max(1, group.num_rows) for group in groups), default=1)
    return max(1, min(CHUNK_ROWS, int(CHUNK_CHARS / max(1, widest))))


def _read_lines(file: BinaryIO, name: str, spec: ReadSpec) -> Iterator[Chunk]:
    pattern, header = compile_pattern(spec.pattern)
    numbered = enumerate(itertools.chain.from_iterable(line_blocks(file, name, spec.encoding)), 1)
    stripped = ((number, line.rstrip("\r\n")) for number, line in numbered)
    filled = ((number, line) for number, line in stripped if line.strip())
    while some := list(_some(filled)):
        columns: list[list[Any]] = [[] for _ in header]
        for number, line in some:
            match = pattern.fullmatch(line) if pattern is not None else None
            if pattern is not None and match is None:
                raise LineUnmatched(
                    f"Line {number} of {name} does not fit the pattern: {_short(line)}",
                    hint=f"The pattern is {spec.pattern!r}; it must fit whole lines.",
                    param="pattern",
                    details={"line": number},
                )
            values = [line] if match is None else [match.group(group) for group in header]
            for column, value in zip(columns, values, strict=True):
                column.append(value)
        yield TableChunk(header, columns, [number for number, _ in some])


def _some(numbered: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Yield the next lines, up to either bound of a chunk."""
    chars = 0
    for number, line in itertools.islice(numbered, CHUNK_ROWS):
        yield number, line
        chars += len(line)
        if chars >= CHUNK_CHARS:
            return


def compile_pattern(pattern: str | None) -> tuple[Any, list[str]]:
    """Return a pattern for lines with the names of its groups. Without one, a line is the column `text`.

    RE2 runs in time linear to the line whatever the pattern, so a caller cannot stall the server with one.
    """
    if pattern is None:
        return None, ["text"]
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        raise PatternInvalid(
            f"The pattern {pattern!r} is not a regular expression: {reason}.",
            hint="RE2 syntax, such as (?P<label>[A-Z]+):(?P<fine>\\S+) (?P<text>.+)",
            param="pattern",
        ) from error
    groups = sorted(compiled.groupindex, key=compiled.groupindex.__getitem__)
    if not groups:
        raise PatternInvalid(
            f"The pattern {pattern!r} names no group.",
            hint="Name each column: (?P<label>[A-Z]+):(?P<text>.+)",
            param="pattern",
        )
    return compiled, groups


_READERS: dict[FileFormat, Callable[[BinaryIO, str, ReadSpec], Iterator[Chunk]]] = {
    "jsonl": _read_jsonl,
    "csv": _read_csv,
    "parquet": _read_parquet,
    "lines": _read_lines,
}
