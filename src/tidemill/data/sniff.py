"""Guessing what a file is: its format, and which columns are which fields."""

import itertools
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidemill.data.formats import MISSING, compile_pattern, read_chunks
from tidemill.data.lines import open_source, text_blocks
from tidemill.data.mapping import CHAT_PARTS, check_columns, check_fields
from tidemill.data.schemas import SCHEMAS
from tidemill.data.types import FileFormat, FormatUnknown, MappingUnclear, MapSpec, ReadSpec, RowSchema

SUFFIXES: dict[str, FileFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".txt": "lines",
}

_WORDS: dict[str, tuple[str, ...]] = {
    "messages": ("messages", "conversations", "conversation", "dialog", "chat"),
    "prompt": ("prompt", "instruction", "question", "query", "input", "source"),
    "completion": ("completion", "response", "answer", "output", "target"),
    "text": ("text", "sentence", "utterance", "question", "content", "message", "body", "query", "document", "input"),
    "label": ("label", "class", "category", "intent", "tag", "labels"),
    "input": ("input", "inputs", "question", "prompt", "query"),
    "expected": ("expected", "expected_output", "expectations", "reference", "answer", "output", "target"),
    "metadata": ("metadata", "meta"),
}
# Tried in this order: the first schema whose required columns are all there wins.
_ORDER: tuple[tuple[RowSchema, tuple[str, ...]], ...] = (
    ("chat", ("messages",)),
    ("classification", ("text", "label")),
    ("completion", ("prompt", "completion")),
    ("eval", ("input", "expected")),
    ("text", ("text",)),
)
_SAMPLE_ROWS = 1000


@dataclass(frozen=True)
class FileSample:
    """The first records of a file."""

    names: list[str]
    values: dict[str, list[Any]]


def guess_format(path: Path, name: str, spec: ReadSpec) -> FileFormat:
    """Return the declared format; else by suffix; else by content."""
    if spec.format is not None:
        return spec.format
    if spec.pattern is not None:
        return "lines"
    suffix = Path(name.lower().removesuffix(".gz")).suffix
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    with open_source(path, name) as file:
        head = file.read(4)
        file.seek(0)
        if head == b"PAR1":
            return "parquet"
        start = next(text_blocks(file, name, spec.encoding), "").lstrip()
    if start.startswith("{"):
        return "jsonl"
    if any(mark in start.split("\n", 1)[0] for mark in ",;\t|"):
        return "csv"
    raise FormatUnknown(
        f"The format of {name} cannot be told from its name or content.",
        hint="Give --format jsonl, csv, parquet or lines.",
        param="format",
    )


def sample(path: Path, name: str, kind: FileFormat, spec: ReadSpec) -> FileSample:
    """Return the columns and first values of a file. Raises whatever is wrong with its first records."""
    if kind == "lines":
        compile_pattern(spec.pattern)
    chunk = next(iter(itertools.islice(read_chunks(path, name, kind, spec), 1)))
    names = chunk.names()
    return FileSample(names, {n: [v for v in chunk.column(n)[:_SAMPLE_ROWS] if v is not MISSING] for n in names})


def resolve_mapping(
    file: FileSample, source: str, schema: RowSchema | None, mapping: MapSpec
) -> tuple[RowSchema, MapSpec]:
    """Return the schema and the complete mapping: what was declared, and the obvious for the rest.

    Raises MappingUnclear with a proposal when it is not obvious.
    """
    if schema is not None:
        check_fields(SCHEMAS[schema], mapping.fields)
    check_columns(mapping.fields, file.names, source)
    chosen = schema or _guess_schema(file, mapping)
    if chosen is None:
        raise _unclear(file, source, None)
    fields = _complete(file, chosen, mapping.fields)
    missing = [name for name in SCHEMAS[chosen].required if name not in fields]
    if chosen == "chat" and {"user", "assistant"} & set(fields):
        missing = []
    if missing:
        raise _unclear(file, source, chosen)
    check_fields(SCHEMAS[chosen], fields)
    return chosen, mapping.model_copy(update={"fields": dict(sorted(fields.items()))})


def _guess_schema(file: FileSample, mapping: MapSpec) -> RowSchema | None:
    mapped = set(mapping.fields) - {"cluster", "time"}
    if mapped & set(CHAT_PARTS):
        return "chat"
    for schema, required in _ORDER:
        if not mapped <= set(SCHEMAS[schema].fields):
            continue
        if schema == "text" and "text" not in mapped and len(file.names) > 1:
            continue  # what would the other columns be for?
        fields = _complete(file, schema, mapping.fields)
        if all(name in fields for name in required):
            return schema
    return None


def _complete(file: FileSample, schema: RowSchema, declared: dict[str, str]) -> dict[str, str]:
    fields = dict(declared)
    if schema == "chat" and {"user", "assistant"} & set(fields):
        return fields
    used = set(fields.values())
    for name in SCHEMAS[schema].fields:
        if name in fields:
            continue
        by_lower = {column.lower(): column for column in file.names if column not in used}
        match = next((by_lower[word] for word in _WORDS[name] if word in by_lower), None)
        if match is not None:
            fields[name] = match
            used.add(match)
    if schema == "chat" and "messages" in fields and "system" not in fields:
        column = next((name for name in file.names if name.lower() in ("system", "system_prompt")), None)
        if column is not None and "system" not in str(file.values[fields["messages"]][:50]):
            fields["system"] = column
    if schema == "text" and "text" not in fields and len(file.names) == 1:
        fields["text"] = file.names[0]
    return fields


def _unclear(file: FileSample, source: str, schema: RowSchema | None) -> MappingUnclear:
    proposed, fields = _propose(file, schema)
    arguments = " ".join(f"--map {shlex.quote(f'{field}={column}')}" for field, column in fields.items())
    return MappingUnclear(
        f"It is not clear which columns of {source} are the fields"
        + (f" of the schema {schema}." if schema else ", nor of which schema."),
        hint=f"Columns: {', '.join(file.names[:30])}. Try: --schema {proposed} {arguments}",
        param="mapping",
        details={"columns": file.names[:200], "proposal": {"row_schema": proposed, "fields": fields}},
    )


def _propose(file: FileSample, schema: RowSchema | None) -> tuple[RowSchema, dict[str, str]]:
    """Return a best guess from the values: the longest column is the text, the one with the fewest values the label."""
    long = sorted(file.names, key=lambda name: -_mean_length(file.values[name]))
    if schema is None:
        short = [name for name in long[1:] if _repeats(file.values[name])]
        schema = "classification" if short else "completion" if len(long) == 2 else "text"
    fields: dict[str, str] = {}
    for name in SCHEMAS[schema].required:
        rest = [column for column in long if column not in fields.values()]
        if name == "label":
            rest.sort(key=lambda column: len(set(map(str, file.values[column]))))
        fields[name] = rest[0] if rest else "COLUMN"
    return schema, fields


def _mean_length(values: list[Any]) -> float:
    texts = [len(value) for value in values if isinstance(value, str)]
    return sum(texts) / len(texts) if texts else 0.0


def _repeats(values: list[Any]) -> bool:
    different = len(set(map(str, values)))
    return 1 < different <= max(2, len(values) // 2)
