"""From the columns of a file to the fields of a schema."""

import shlex
from collections import Counter
from datetime import UTC, date, datetime
from typing import Any

import re2

from tidemill.core.errors import nearest
from tidemill.core.labels import is_missing, label_text, scalar_text
from tidemill.core.parsing import parse_json
from tidemill.core.wire import canonical_json
from tidemill.data.formats import MISSING, Chunk
from tidemill.data.schemas import ROLES, RowBatch, Schema
from tidemill.data.types import (
    ColumnUnknown,
    FieldUnknown,
    LabelUnknown,
    MapSpec,
    MessagesInvalid,
    TimeUnreadable,
    TypesMixed,
    TypeWrong,
    ValueMissing,
)

EXTRA_FIELDS = ("cluster", "time")
CHAT_PARTS = ("system", "user", "assistant")
_VARIABLE = re2.compile(r"\{\{\s*([^{}]+?)\s*\}\}")
_SHAREGPT = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}
_KINDS = {str: "text", bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "an object"}


def allowed_fields(schema: Schema) -> list[str]:
    """Return the names that a mapping for this schema may give columns to."""
    parts = CHAT_PARTS if schema.name == "chat" else ()
    return [*schema.fields, *parts, *EXTRA_FIELDS]


def check_fields(schema: Schema, fields: dict[str, str]) -> None:
    """Refuse a mapping to a field that the schema lacks."""
    allowed = allowed_fields(schema)
    unread = [part for part in ("user", "assistant") if part in fields and "messages" in fields]
    if unread:
        raise FieldUnknown(
            f"`{unread[0]}` is not read beside `messages`, which hold all turns.",
            hint="Map either messages (and system), or user and assistant.",
            param="mapping",
        )
    for field in fields:
        if field not in allowed:
            guess = nearest(field, allowed, 1)
            raise FieldUnknown(
                f"The schema {schema.name} has no field {field!r}.",
                hint=f"Did you mean {guess[0]!r}? " * bool(guess) + f"Fields: {', '.join(allowed)}.",
                param="mapping",
            )


def check_columns(fields: dict[str, str], names: list[str], source: str) -> None:
    """Refuse a mapping from a column that the file lacks."""
    for field, column in fields.items():
        for name in _columns_of(column):
            if name not in names:
                guess = nearest(name, names, 1) or [n for n in names if n.lower() == name.lower()]
                option = shlex.quote(f"{field}={guess[0]}") if guess else ""
                hint = f"Did you mean `--map {option}`? " if guess else ""
                raise ColumnUnknown(
                    f"{source} has no column {name!r}.",
                    hint=hint + f"Columns: {', '.join(names[:30])}.",
                    param="mapping",
                    details={"column": name, "nearest": guess[0] if guess else None, "columns": names[:200]},
                )


def _columns_of(column: str) -> list[str]:
    names = [match.group(1) for match in _VARIABLE.finditer(column)]
    return names or [column]


class Mapper:
    """Maps the chunks of one or more files; remembers what it saw so that mixed types are noticed."""

    def __init__(self, schema: Schema, spec: MapSpec) -> None:
        self.schema = schema
        self.spec = spec
        self.kinds: dict[str, tuple[type, str]] = {}
        self.labels = frozenset(map(_as_label, spec.labels)) if spec.labels is not None else None
        self.new_labels = {_as_label(old): _as_label(new) for old, new in spec.label_values.items()}
        self.dropped = 0
        self.label_counts: Counter[str] = Counter()
        self.checked: set[int] = set()

    def batch(self, chunk: Chunk, file: int, source: str) -> RowBatch:
        """Return the rows of one chunk. Raises at the first value that does not fit, naming its line."""
        if file not in self.checked:
            check_columns(self.spec.fields, chunk.names(), source)
            self.checked.add(file)
        place = _RowLocation(source, chunk.lines)
        columns: dict[str, list[Any]] = {name: self._field(name, chunk, place) for name in self.schema.fields}
        columns["cluster"] = [key or None for key in self._text("cluster", chunk, place, required=False)]
        columns["time"] = [_parse_time(v, place, i) for i, v in enumerate(self._values("time", chunk))]
        batch = RowBatch(columns, [file] * len(chunk.lines), chunk.lines)
        if self.spec.missing == "drop":
            mask = [
                all(value is not None for value in values)
                for values in zip(*(columns[name] for name in self.schema.required), strict=True)
            ]
            self.dropped += mask.count(False)
            batch = batch.keep(mask)
        if "label" in batch.columns:
            self.label_counts.update(batch.columns["label"])
        return batch

    def _values(self, field: str, chunk: Chunk) -> list[Any]:
        column = self.spec.fields.get(field)
        if column is None:
            return [None] * len(chunk.lines)
        names = [match.group(1) for match in _VARIABLE.finditer(column)]
        if not names:
            return [None if value is MISSING or is_missing(value) else value for value in chunk.column(column)]
        parts = _VARIABLE.split(column)
        filled = {name: chunk.column(name) for name in set(names)}
        return [
            "".join(
                part if not number % 2 else _as_text(filled[part][row]) for number, part in enumerate(parts)
            ).strip()
            for row in range(len(chunk.lines))
        ]

    def _field(self, name: str, chunk: Chunk, place: "_RowLocation") -> list[Any]:
        if name == "messages":
            return self._messages(chunk, place)
        if name == "metadata":
            return [_metadata(value) for value in self._values(name, chunk)]
        if name == "label":
            return self._label(chunk, place)
        if name == "expected":
            values = self._values(name, chunk)
            return [value if value is None or type(value) is str else _as_text(value) for value in values]
        return self._text(name, chunk, place, required=name in self.schema.required)

    def _text(self, field: str, chunk: Chunk, place: "_RowLocation", *, required: bool) -> list[Any]:
        values = self._values(field, chunk)
        kinds = set(map(type, values))
        if kinds == {str}:
            self.kinds.setdefault(field, (str, place.at(0)))
            return values
        for row, value in enumerate(values):
            if value is None:
                self._missing(field, place, row, required)
                continue
            self._same_kind(field, value, place, row)
            if type(value) is not str and field != "cluster":
                excerpt = _as_text(value)[:60]
                raise TypeWrong(
                    f"{place.at(row)} has {_kind(value)} where the field {field!r} needs text: {excerpt!r}.",
                    hint=f"Map another column to {field}, or write the value as text.",
                    details={"line": place.lines[row], "field": field},
                )
        return [None if value is None else _as_text(value) for value in values]

    def _missing(self, field: str, place: "_RowLocation", row: int, required: bool) -> None:
        if required and self.spec.missing == "error":
            raise ValueMissing(
                f"{place.at(row)} has no value for {field!r}.",
                hint="Fill it in, or drop such rows with `--missing drop`.",
                details={"line": place.lines[row], "field": field},
            )

    def _same_kind(self, field: str, value: Any, place: "_RowLocation", row: int) -> None:
        kind = float if type(value) is int else type(value)
        first, where = self.kinds.setdefault(field, (kind, place.at(row)))
        if first is not kind:
            raise TypesMixed(
                f"The values for {field!r} are mixed: {place.at(row)} has {_kind(value)}, "
                f"{where} has {_KINDS.get(first, first.__name__)}.",
                hint="Write all of them as text.",
                details={"line": place.lines[row], "field": field},
            )

    def _label(self, chunk: Chunk, place: "_RowLocation") -> list[Any]:
        labels: list[Any] = []
        for row, value in enumerate(self._values("label", chunk)):
            if value is None or (isinstance(value, str) and not value.strip()):
                self._missing("label", place, row, required=True)
                labels.append(None)
                continue
            self._same_kind("label", value, place, row)
            if isinstance(value, list | dict):
                raise TypeWrong(
                    f"{place.at(row)} has {_kind(value)} as label.",
                    hint="A label is text, a number or true/false.",
                    details={"line": place.lines[row], "field": "label"},
                )
            label = _as_label(value)
            label = self.new_labels.get(label, label)
            if self.labels is not None and label not in self.labels:
                raise self._unknown_label(label, place, row)
            labels.append(label)
        return labels

    def _unknown_label(self, label: str, place: "_RowLocation", row: int) -> LabelUnknown:
        labels = sorted(self.labels or ())
        guess = nearest(label, labels, 1)
        return LabelUnknown(
            f"{place.at(row)} has the label {label!r}, which is not in the declared set.",
            hint=(f"Did you mean {guess[0]!r}? " if guess else "")
            + f"Declared: {', '.join(labels[:20])}. Rename labels with `--label old=new`.",
            details={"line": place.lines[row], "label": label},
        )

    def _messages(self, chunk: Chunk, place: "_RowLocation") -> list[Any]:
        if "messages" in self.spec.fields:
            rows = []
            systems = self._text("system", chunk, place, required=False)
            for row, value in enumerate(self._values("messages", chunk)):
                if value is None:
                    self._missing("messages", place, row, required=True)
                messages = None if value is None else _conversation(value, place, row)
                rows.append(messages and _with_system(messages, systems[row], place, row))
            return rows
        parts = [part for part in CHAT_PARTS if part in self.spec.fields]
        texts = {part: self._text(part, chunk, place, required=part != "system") for part in parts}
        rows = []
        for row in range(len(chunk.lines)):
            messages = [{"role": part, "content": texts[part][row]} for part in parts if texts[part][row] is not None]
            complete = all(texts[part][row] is not None for part in parts if part != "system")
            rows.append(messages if complete and messages else None)
        return rows


class _RowLocation:
    """Says where a row stands."""

    def __init__(self, source: str, lines: list[int]) -> None:
        self.source = source
        self.lines = lines

    def at(self, row: int) -> str:
        return f"Line {self.lines[row]} of {self.source}"


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), type(value).__name__)


def _as_label(value: Any) -> str:
    return label_text(value) or _as_text(value)


def _as_text(value: Any) -> str:
    if type(value) is str:
        return value
    if value is MISSING or is_missing(value):
        return ""
    if isinstance(value, bool | int | float):
        return scalar_text(value)
    if isinstance(value, dict | list):
        return canonical_json(value).decode()
    return str(value)


def _metadata(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            read = parse_json(value)
        except ValueError:
            read = None
        value = read if isinstance(read, dict) else {"value": value}
    return canonical_json(value if isinstance(value, dict) else {"value": value}).decode()


def _conversation(value: Any, place: _RowLocation, row: int) -> list[dict[str, str]]:
    if isinstance(value, str):
        try:
            value = parse_json(value)
        except ValueError as error:
            if _is_python_literal(value):
                reason = "has messages as a Python literal (in single quotes), not as JSON: write them with json.dumps"
                raise _bad_messages(place, row, reason) from error
            value = None
    if not isinstance(value, list) or not value:
        raise _bad_messages(place, row, "is not a list of messages")
    return [_message(message, place, row) for message in value]


def _with_system(
    messages: list[dict[str, str]], system: str | None, place: _RowLocation, row: int
) -> list[dict[str, str]]:
    """Return the turns after the system message of its own column. Refuses a second, different one."""
    if system is None or not system.strip():
        return messages
    first = {"role": "system", "content": system}
    if messages[0] == first:
        return messages
    if any(message["role"] in ("system", "developer") for message in messages):
        raise _bad_messages(place, row, "has a system message both in its messages and in the column of `system`")
    return [first, *messages]


def _message(message: Any, place: _RowLocation, row: int) -> dict[str, str]:
    if not isinstance(message, dict):
        raise _bad_messages(place, row, "has a message that is not an object")
    if message.get("tool_calls") or message.get("function_call"):
        raise _bad_messages(place, row, "has a message with tool calls, which datasets cannot keep yet")
    role = message.get("role", message.get("from"))
    role = _SHAREGPT.get(role, role) if isinstance(role, str) else role
    content = _joined(message.get("content", message.get("value")))
    if role not in ROLES:
        raise _bad_messages(place, row, f"has a message with the role {role!r}")
    if not isinstance(content, str):
        raise _bad_messages(place, row, f"has a {role} message whose content is {_kind(content)}, not text")
    return {"role": role, "content": content}


def _joined(content: Any) -> Any:
    """Return a list of text parts as the gateway takes them, as one text; anything else as it is."""
    if not isinstance(content, list) or not content:
        return content
    texts = [
        part["text"]
        for part in content
        if isinstance(part, dict) and part.get("type") in ("text", "input_text") and isinstance(part.get("text"), str)
    ]
    return "\n".join(texts) if len(texts) == len(content) else content


def _is_python_literal(text: str) -> bool:
    return re2.match(r"\s*\[\s*\{\s*'", text) is not None


def _bad_messages(place: _RowLocation, row: int, what: str) -> MessagesInvalid:
    return MessagesInvalid(
        f"{place.at(row)} {what}.",
        hint=f'Messages look like [{{"role": "user", "content": "..."}}, ...]; roles: {", ".join(ROLES)}.',
        details={"line": place.lines[row]},
    )


def _parse_time(value: Any, place: _RowLocation, row: int) -> int | None:
    """Microseconds since 1970. Numbers are seconds, or milliseconds when too large for that."""
    if value is None or value == "":
        return None
    try:
        if isinstance(value, str):
            value = float(value) if value.replace(".", "", 1).isdigit() else datetime.fromisoformat(value)
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)
        if isinstance(value, datetime):
            moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        else:
            moment = datetime.fromtimestamp(value / 1000 if abs(value) > 1e11 else value, UTC)
    except (ValueError, TypeError, OverflowError, OSError) as error:
        raise TimeUnreadable(
            f"{place.at(row)} has {_as_text(value)[:60]!r}, which is not a moment in time.",
            hint="Use ISO 8601 (2026-03-01T12:00:00Z) or seconds since 1970.",
            details={"line": place.lines[row]},
        ) from error
    return round(moment.timestamp() * 1_000_000)
