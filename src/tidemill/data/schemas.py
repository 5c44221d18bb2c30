"""The schemas of rows: their fields, their text, and how they lie in Arrow."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tidemill.core.wire import canonical_json
from tidemill.data.types import RowSchema, Scope

if TYPE_CHECKING:
    import pyarrow as pa

Columns = dict[str, list[Any]]

ROLES = ("system", "developer", "user", "assistant", "tool")


@dataclass(frozen=True)
class RowBatch:
    """Some rows on their way through the recipe, column by column, with where each came from."""

    columns: Columns
    files: list[int]
    lines: list[int]

    def __len__(self) -> int:
        return len(self.lines)

    def keep(self, mask: list[bool]) -> "RowBatch":
        """Return the rows where `mask` is true."""
        if all(mask):
            return self
        return RowBatch(
            {name: _where(values, mask) for name, values in self.columns.items()},
            _where(self.files, mask),
            _where(self.lines, mask),
        )


def _where(values: list[Any], mask: list[bool]) -> list[Any]:
    return [value for value, chosen in zip(values, mask, strict=True) if chosen]


@dataclass(frozen=True)
class Schema:
    """One kind of rows.

    `texts` are the string fields that cleaning may change, `inputs` those that a model gets to see.
    """

    name: RowSchema
    required: tuple[str, ...]
    optional: tuple[str, ...]
    texts: tuple[str, ...]
    inputs: tuple[str, ...]
    duplicates_on: Scope

    @property
    def fields(self) -> tuple[str, ...]:
        """All fields in order."""
        return self.required + self.optional

    @property
    def arrow(self) -> "list[pa.Field]":
        """The Arrow fields of a stored row, without id, cluster and split."""
        import pyarrow as pa

        message = pa.struct([("role", pa.string()), ("content", pa.string())])
        return [pa.field(name, pa.list_(message) if name == "messages" else pa.string()) for name in self.fields]

    def cells(self, batch: RowBatch) -> list[str]:
        """Return every text of the batch in one flat list (see `with_cells`)."""
        if self.name == "chat":
            return [message["content"] for row in batch.columns["messages"] for message in row]
        return [text for name in self.texts for text in batch.columns[name] if text is not None]

    def with_cells(self, batch: RowBatch, cells: list[str]) -> RowBatch:
        """Return the batch with its texts replaced, in the order of `cells`."""
        replacements = iter(cells)
        columns = dict(batch.columns)
        if self.name == "chat":
            columns["messages"] = [
                [{"role": entry["role"], "content": next(replacements)} for entry in row] for row in columns["messages"]
            ]
        else:
            for name in self.texts:
                columns[name] = [None if text is None else next(replacements) for text in columns[name]]
        return replace(batch, columns=columns)

    def cell_rows(self, batch: RowBatch) -> list[int]:
        """Return for each cell the row that it belongs to."""
        if self.name == "chat":
            return [place for place, row in enumerate(batch.columns["messages"]) for _ in row]
        return [place for name in self.texts for place, text in enumerate(batch.columns[name]) if text is not None]

    def row_texts(self, batch: RowBatch, scope: Scope = "row") -> list[str]:
        """Return one text per row: all of its texts, or only its input."""
        if self.name == "chat":
            reader = _chat_text if scope == "row" else _chat_input
            return [reader(row) for row in batch.columns["messages"]]
        names = self.texts if scope == "row" else self.inputs
        if len(names) == 1:
            return list(batch.columns[names[0]])
        return [
            "\n".join(text or "" for text in texts) for texts in zip(*(batch.columns[n] for n in names), strict=True)
        ]

    def answers(self, batch: RowBatch) -> list[str]:
        """Return what each row teaches to answer: its label, completion, expected answer or assistant turns."""
        if self.name == "chat":
            return [_assistant_text(row) for row in batch.columns["messages"]]
        name = {"classification": "label", "completion": "completion", "eval": "expected"}.get(self.name)
        return [""] * len(batch) if name is None else [answer or "" for answer in batch.columns[name]]

    def identities(self, batch: RowBatch) -> list[bytes]:
        """Return for each row the bytes that identify it, for its hash."""
        if self.fields == ("text",):
            return [text.encode() for text in batch.columns["text"]]
        rows = zip(*(batch.columns[name] for name in self.fields), strict=True)
        if self.name == "chat":
            return [canonical_json(list(row)) for row in rows]
        return ["\x1f".join("\x00" if value is None else value for value in row).encode() for row in rows]


def _chat_text(messages: list[dict[str, str]]) -> str:
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)


def _assistant_text(messages: list[dict[str, str]]) -> str:
    return "\x1f".join(message["content"] for message in messages if message["role"] == "assistant")


def _chat_input(messages: list[dict[str, str]]) -> str:
    last = max((place for place, message in enumerate(messages) if message["role"] == "assistant"), default=None)
    return _chat_text(messages if last is None else messages[:last])


SCHEMAS: dict[RowSchema, Schema] = {
    "chat": Schema("chat", ("messages",), (), ("messages",), ("messages",), "row"),
    "completion": Schema("completion", ("prompt", "completion"), (), ("prompt", "completion"), ("prompt",), "row"),
    "classification": Schema("classification", ("text", "label"), (), ("text",), ("text",), "input"),
    "text": Schema("text", ("text",), (), ("text",), ("text",), "input"),
    "eval": Schema("eval", ("input",), ("expected", "metadata"), ("input", "expected"), ("input",), "input"),
}


def spool_extra() -> "list[pa.Field]":
    """Return the Arrow fields of a spooled row that no schema names."""
    import pyarrow as pa

    return [
        pa.field("cluster", pa.string()),
        pa.field("time", pa.int64()),
        pa.field("file", pa.int32()),
        pa.field("line", pa.int64()),
    ]


TextChange = Callable[[list[str]], list[str]]
