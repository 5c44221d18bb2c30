"""How traces look on a terminal of eighty columns."""

import json
from datetime import datetime
from typing import Any

from rich.text import Text

from tidemill.traces.types import Kind, TraceTree

_COLOURS: dict[Kind, str] = {
    "llm": "magenta",
    "embedding": "blue",
    "retriever": "green",
    "reranker": "green",
    "tool": "yellow",
    "agent": "cyan",
    "chain": "default",
    "guardrail": "red",
    "evaluator": "red",
    "other": "default",
}
WIDTH = 15
"""Columns of the bars of a waterfall."""
MAX_NAME = 26


def format_duration(milliseconds: float | None) -> str:
    """Return a duration in four or five characters."""
    if milliseconds is None:
        return "-"
    if milliseconds < 10:
        return f"{milliseconds:.1f} ms"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def format_cost(dollars: float | None) -> str:
    """Return a cost; small ones with two significant digits."""
    if not dollars:
        return "-"
    return f"${dollars:.2f}" if dollars >= 1 else f"${dollars:.2g}" if dollars >= 0.0001 else "<$.0001"


def _format_count(number: int) -> str:
    for unit, step in (("M", 1_000_000), ("k", 1_000)):
        if number >= 10 * step or (unit == "M" and number >= step):
            return f"{number / step:.0f}{unit}" if number >= 10 * step else f"{number / step:.1f}{unit}"
    return str(number)


def format_tokens(input_tokens: int, output_tokens: int) -> str:
    """Return input and output tokens as one text; `-` for none."""
    if not input_tokens and not output_tokens:
        return "-"
    return f"{_format_count(input_tokens)}→{_format_count(output_tokens)}"


def format_time(moment: datetime) -> str:
    """Return the day, and the time to the second: a list may hold more than today."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def render_bar(value: float, largest: float, width: int) -> str:
    """Return a bar in eighths of a character, `width` characters long for the largest value."""
    eighths = round(value / largest * width * 8) if largest else 0
    return "█" * (eighths // 8) + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths % 8]


def kind_label(kind: Kind) -> str:
    """Return the kind of a span as people read it."""
    return kind if kind != "other" else "span"


def format_value(value: Any, max_chars: int | None) -> str:
    """Return a value as text: strings as they are, the parts of a message one after the other, the rest as JSON."""
    if isinstance(value, str):
        text = value
    elif (
        isinstance(value, list) and value and all(isinstance(v, dict) and isinstance(v.get("text"), str) for v in value)
    ):
        text = " ".join(v["text"] for v in value)
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
    if max_chars is None or len(text) <= max_chars:
        return text
    return text[:max_chars] + f" … ({len(text)} characters, --whole)"


def extract_text(value: Any) -> str:
    """Return the texts in a value, without names and roles."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return " ".join(extract_text(item) for item in value)
    if isinstance(value, dict):
        return " ".join(extract_text(item) for name, item in value.items() if name not in ("role", "type", "id"))
    return "" if value is None else str(value)


def render_waterfall(tree: TraceTree) -> list[list[Text]]:
    """Return a row for each span: its place in the tree, kind, when it ran, how long, tokens and cost."""
    start = min(node.span.start for node in tree.nodes)
    end = max(node.span.start.timestamp() + node.span.duration_ms / 1000 for node in tree.nodes)
    duration_s = max(end - start.timestamp(), 1e-6)
    rows = []
    for number, node in enumerate(tree.nodes):
        span, colour = node.span, _COLOURS[node.span.kind]
        offset = (span.start - start).total_seconds() / duration_s * WIDTH
        length = max(span.duration_ms / 1000 / duration_s * WIDTH, 0.15)
        bar = " " * int(offset) + (render_bar(length, WIDTH, WIDTH) or "▏")
        name = Text(_branch(tree, number), style="dim")
        room = MAX_NAME - len(name)
        failed = span.status == "error"
        label = span.name if len(span.name) <= room else span.name[: max(room - 1, 1)] + "…"
        name.append(("✗ " if failed else "") + label, style="red" if failed else "default")
        rows.append(
            [
                name,
                Text(kind_label(span.kind), style=colour),
                Text(bar[:WIDTH].ljust(WIDTH), style="red" if failed else colour),
                Text(format_duration(span.duration_ms)),
                Text(format_tokens(span.input_tokens or 0, span.output_tokens or 0)),
                Text(format_cost(span.cost_usd)),
            ]
        )
    return rows


def _branch(tree: TraceTree, number: int) -> str:
    """Return the lines that lead to a node."""
    depth = tree.nodes[number].depth
    if depth == 0:
        return ""
    if depth > 8:
        return f"{depth}> "
    parts = []
    for level in range(1, depth + 1):
        follows = False
        for later in tree.nodes[number + 1 :]:
            if later.depth < level:
                break
            if later.depth == level:
                follows = True
                break
        if level == depth:
            parts.append("├ " if follows else "└ ")
        else:
            parts.append("│ " if follows else "  ")
    return "".join(parts)
