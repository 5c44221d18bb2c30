"""Rows of a data set as chats with an answer, and the files that hand them to a training process."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field

from tidemill.core.wire import Value
from tidemill.tuning import answer_template as answer_templates
from tidemill.tuning.chat_template import Message
from tidemill.tuning.compress.files import replacing
from tidemill.tuning.types import DatasetSchemaUnfit

NEEDED = {
    "chat": ("messages",),
    "completion": ("prompt", "completion"),
    "classification": ("text", "label"),
}
"""The schemas that can be tuned on, and their columns."""


class ChatExample(Value):
    """A row as a chat that ends with the answer: a line of `train.jsonl`, `eval.jsonl` or `proof.jsonl`."""

    id: str
    cluster: str = Field(default="", description="Rows of one cluster depend on each other.")
    messages: list[Message]
    start: int = Field(description="How many messages come from the prompt; they are never in the loss.")
    exact: bool = Field(default=False, description="Whether answers are right or wrong, as labels are.")


def read(path: Path) -> list[ChatExample]:
    """Return the examples in a file that `write` wrote."""
    return [ChatExample.model_validate_json(line) for line in path.read_bytes().splitlines()]


def write(path: Path, rows: Iterable[ChatExample]) -> None:
    """Write one JSON line per example; the file appears only when it is complete."""
    with replacing(path) as file:
        for row in rows:
            file.write(json.dumps(row.model_dump(), ensure_ascii=False).encode() + b"\n")


def check_schema(schema: str, columns: Iterable[str], *, dataset: str) -> None:
    """Refuse a data set that cannot be tuned on, naming what it has and what is needed."""
    schemas = "; ".join(f"{name} ({', '.join(needed)})" for name, needed in NEEDED.items())
    if schema not in NEEDED:
        raise DatasetSchemaUnfit(
            f"{dataset} has the schema {schema!r}; tuning needs one of: {schemas}.",
            hint="Import the data again with a mapping to one of these schemas: `tidemill data import --schema …`.",
            param="dataset",
        )
    have = sorted(columns)
    missing = [c for c in NEEDED[schema] if c not in have]
    if missing:
        raise DatasetSchemaUnfit(
            f"{dataset} lacks the column {missing[0]!r} of the schema {schema!r}; it has {', '.join(have)}.",
            hint=f"Tuning needs one of: {schemas}.",
            param="dataset",
        )


def chat_of(row: dict[str, Any], schema: str, prefix: list[Message], answer_template: str | None) -> list[Message]:
    """Return a row as messages that end with the answer. `prefix`: the rendered messages of the prompt version."""
    if schema == "classification":
        answer = answer_templates.fill(answer_template or "{{label}}", row["label"], row_id=str(row.get("id", "?")))
        return [*prefix, _user(row["text"]), _assistant(answer)]
    if schema == "completion":
        return [*prefix, _user(row["prompt"]), _assistant(row["completion"])]
    messages = [{k: v for k, v in m.items() if v is not None} for m in row["messages"]]
    last = max((i for i, m in enumerate(messages) if m["role"] == "assistant"), default=None)
    if last is None:
        raise DatasetSchemaUnfit(
            f"The row {row.get('id', '?')} has no assistant message, so there is nothing to learn from it.",
            hint="Leave such rows out when importing.",
            param="dataset",
        )
    return [*prefix, *messages[: last + 1]]


def _user(content: Any) -> Message:
    return {"role": "user", "content": str(content)}


def _assistant(content: Any) -> Message:
    return {"role": "assistant", "content": str(content)}
