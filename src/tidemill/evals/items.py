"""Eval items: made from the rows of a dataset, kept as JSON lines under their hash."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tidemill.core.blobs.types import Blobs
from tidemill.core.wire import canonical_json
from tidemill.evals.types import ChatMessage, EvalItem, EvalMapping, EvalSetInvalid

if TYPE_CHECKING:
    import pyarrow as pa


_DEFAULTS: dict[str, tuple[str, str | None]] = {
    "classification": ("text", "label"),
    "completion": ("prompt", "completion"),
    "chat": ("messages", None),
    "text": ("text", None),
    "eval": ("input", "expected"),
}


def build(schema: str, table: "pa.Table", mapping: EvalMapping, limit: int | None = None) -> list[EvalItem]:
    """Return one item per row. Raises EvalSetInvalid for a missing column or a row that makes no item.

    With a limit, the rows with the smallest ids are kept: ids are hashes, so this is a fair and repeatable draw.
    """
    default_input, default_expected = _DEFAULTS[schema]
    source = mapping.input or default_input
    expected = mapping.expected or default_expected
    columns = [source, mapping.cluster, *([expected] if expected else []), *mapping.metadata]
    _check_columns(columns, table.column_names)
    rows = table.to_pylist()
    if limit is not None:
        rows = sorted(rows, key=lambda row: str(row["id"]))[:limit]
    if not rows:
        raise EvalSetInvalid("The split has no rows, so there is nothing to ask.", hint="Choose another split.")
    items = [_item(row, source, expected, mapping) for row in rows]
    twice = [item_id for item_id, count in Counter(item.id for item in items).items() if count > 1]
    if twice:
        raise EvalSetInvalid(f"{len(twice)} row ids occur twice, such as {twice[0]}.", hint="Import the data again.")
    return items


def _check_columns(columns: list[str], there: list[str]) -> None:
    for name in columns:
        if name not in there:
            raise EvalSetInvalid(
                f"The dataset has no column {name!r}.", hint=f"It has {', '.join(there)}.", param="mapping"
            )


def _item(row: Mapping[str, Any], source: str, expected: str | None, mapping: EvalMapping) -> EvalItem:
    value = row[source]
    answer = row[expected] if expected else None
    if isinstance(value, list):
        messages = [ChatMessage(role=m["role"], content=m["content"]) for m in value]
        if expected is None and messages and messages[-1].role == "assistant":
            answer = messages.pop().content
    elif isinstance(value, str):
        messages = [ChatMessage(role="user", content=value)]
    else:
        messages = []
    if not messages:
        raise EvalSetInvalid(f"Row {row['id']} has no input in {source!r}.", hint="Drop such rows at import.")
    if mapping.system is not None:
        messages = [ChatMessage(role="system", content=mapping.system), *messages]
    cluster = row[mapping.cluster]
    if cluster is None or cluster == "":
        raise EvalSetInvalid(
            f"Row {row['id']} has no cluster key in {mapping.cluster!r}.",
            hint="Every item needs one: a document, user or session; the row's own id when it stands alone.",
        )
    return EvalItem(
        id=str(row["id"]),
        messages=messages,
        expected=answer,
        cluster_id=str(cluster),
        metadata={name: row[name] for name in mapping.metadata},
    )


def pack(items: list[EvalItem]) -> bytes:
    """Return items as JSON lines; equal items give equal bytes."""
    return b"".join(canonical_json(item.model_dump(mode="json")) + b"\n" for item in items)


def load(blobs: Blobs, digest: str) -> list[EvalItem]:
    """Return the items stored under a hash."""
    with blobs.open(digest) as file:
        return [EvalItem.model_validate(json.loads(line)) for line in file]
