"""Whole traces as trees, and single spans of them."""

from collections.abc import Sequence
from functools import reduce

from tidemill.traces.store.batch import signed
from tidemill.traces.store.days import DayReader
from tidemill.traces.store.span_rows import SpanReader
from tidemill.traces.store.stored_days import StoredDays
from tidemill.traces.store.trace_list import merge_parts, read_summary
from tidemill.traces.types import SpanDetail, TraceSummary, TraceTree, TreeNode


def get_trace(days: StoredDays, trace_id: bytes, *, payload: bool, limit: int) -> TraceTree | None:
    """Return a whole trace with at most `limit` of its spans; None when no day has it."""
    spans: list[SpanDetail] = []
    parts: list[TraceSummary] = []
    for day in days.list_days():
        with days.read(day) as reader:
            number = _number(reader, trace_id) if reader is not None else None
            if reader is None or number is None:
                continue
            condition = "WHERE s.trace = ? ORDER BY s.start_us, s.id LIMIT ?"
            span_reader = SpanReader(reader, days.texts(reader))
            spans += span_reader.query(condition, (number, limit - len(spans)), payload=payload)
        part = read_summary(days, trace_id.hex(), day)
        if part is not None:
            parts.append(part)
    if not parts:
        return None
    summary = reduce(merge_parts, parts)
    return TraceTree(
        summary=summary, payload=payload, nodes=flatten_tree(spans), left_out=max(summary.spans - len(spans), 0)
    )


def trace_ids_with_prefix(days: StoredDays, digits: str) -> list[bytes]:
    """Return at most two trace ids that begin with these hexadecimal digits."""
    first, last = bytes.fromhex(digits.ljust(32, "0")), bytes.fromhex(digits.ljust(32, "f"))
    ids: set[bytes] = set()
    for day in days.list_days():
        with days.read(day) as reader:
            if reader is None:
                continue
            rows = reader.rows("SELECT trace FROM traces WHERE trace BETWEEN ? AND ? LIMIT 2", (first, last))
            ids.update(bytes(row[0]) for row in rows)
        if len(ids) > 1:
            break
    return sorted(ids)[:2]


def _number(reader: DayReader, trace_id: bytes) -> int | None:
    rows = reader.rows("SELECT id FROM traces WHERE trace = ?", (trace_id,))
    return rows[0][0] if rows else None


def flatten_tree(spans: Sequence[SpanDetail]) -> list[TreeNode]:
    """Return spans in depth-first order. One whose parent is not there, or that is part of a cycle, is a root."""
    span_ids = {span.span_id for span in spans}
    children: dict[str | None, list[SpanDetail]] = {}
    for span in spans:
        parent = span.parent_id if span.parent_id in span_ids and span.parent_id != span.span_id else None
        children.setdefault(parent, []).append(span)
    nodes: list[TreeNode] = []
    seen_ids: set[str] = set()
    for start in (children.get(None, []), spans):
        stack = [(0, span) for span in reversed(start) if span.span_id not in seen_ids]
        while stack:
            depth, span = stack.pop()
            if span.span_id in seen_ids:
                continue
            seen_ids.add(span.span_id)
            nodes.append(TreeNode.model_construct(depth=depth, span=span))
            stack += [(depth + 1, child) for child in reversed(children.get(span.span_id, []))]
    return nodes


def get_span(days: StoredDays, trace_id: bytes, span_id: bytes) -> SpanDetail | None:
    """Return one span with its payload; None when no day has it."""
    for day in reversed(days.list_days()):
        with days.read(day) as reader:
            if reader is None:
                continue
            condition = "WHERE t.trace = ? AND s.span = ?"
            span_reader = SpanReader(reader, days.texts(reader))
            spans = span_reader.query(condition, (trace_id, signed(span_id)), payload=True)
        if spans:
            return spans[0]
    return None
