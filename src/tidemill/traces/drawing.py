"""How traces look on a terminal of eighty columns."""

import json
from datetime import datetime
from typing import Any

from rich.text import Text

from tidemill.core.wire import utc_now
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
LONGEST_NAME = 26


def took(milliseconds: float | None) -> str:
    """A duration in four or five characters."""
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


def money(dollars: float | None) -> str:
    """A cost; small ones with two digits that matter."""
    if not dollars:
        return "-"
    return f"${dollars:.2f}" if dollars >= 1 else f"${dollars:.2g}" if dollars >= 0.0001 else "<$.0001"


def count(number: int) -> str:
    """A number in at most four characters or so."""
    for unit, step in (("M", 1_000_000), ("k", 1_000)):
        if number >= 10 * step or (unit == "M" and number >= step):
            return f"{number / step:.0f}{unit}" if number >= 10 * step else f"{number / step:.1f}{unit}"
    return str(number)


def tokens(given: int, made: int) -> str:
    """Tokens in and out."""
    return f"{count(given)}→{count(made)}" if given or made else "-"


def ago(moment: datetime) -> str:
    """When: the time when it is today, else the day too."""
    local = moment.astimezone()
    return local.strftime("%H:%M:%S" if local.date() == utc_now().astimezone().date() else "%m-%d %H:%M")


def bar(value: float, most: float, width: int) -> str:
    """A bar in eighths of a character."""
    eighths = round(value / most * width * 8) if most else 0
    return "█" * (eighths // 8) + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths % 8]


def kind_word(kind: Kind) -> str:
    """The kind of a span as it is shown."""
    return kind if kind != "other" else "span"


def compact(value: Any, most: int | None) -> str:
    """A value as text: strings as they are, the parts of a message one after the other, the rest as JSON."""
    if isinstance(value, str):
        text = value
    elif (
        isinstance(value, list) and value and all(isinstance(v, dict) and isinstance(v.get("text"), str) for v in value)
    ):
        text = " ".join(v["text"] for v in value)
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
    return text if most is None or len(text) <= most else text[:most] + f" … ({len(text)} characters, --whole)"


def plain(value: Any) -> str:
    """What is said in a value, without names and roles."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return " ".join(plain(item) for item in value)
    if isinstance(value, dict):
        return " ".join(plain(item) for name, item in value.items() if name not in ("role", "type", "id"))
    return "" if value is None else str(value)


def waterfall(tree: TraceTree) -> list[list[Text]]:
    """A row for each span: its place in the tree, kind, when it ran, how long, tokens and cost."""
    start = min(node.span.start for node in tree.nodes)
    end = max(node.span.start.timestamp() + node.span.duration_ms / 1000 for node in tree.nodes)
    whole = max(end - start.timestamp(), 1e-6)
    rows = []
    for number, node in enumerate(tree.nodes):
        span, colour = node.span, _COLOURS[node.span.kind]
        offset = (span.start - start).total_seconds() / whole * WIDTH
        length = max(span.duration_ms / 1000 / whole * WIDTH, 0.15)
        drawn = " " * int(offset) + (bar(length, WIDTH, WIDTH) or "▏")
        name = Text(_branch(tree, number), style="dim")
        room = LONGEST_NAME - len(name)
        failed = span.status == "error"
        shown = span.name if len(span.name) <= room else span.name[: max(room - 1, 1)] + "…"
        name.append(("✗ " if failed else "") + shown, style="red" if failed else "default")
        rows.append(
            [
                name,
                Text(kind_word(span.kind), style=colour),
                Text(drawn[:WIDTH].ljust(WIDTH), style="red" if failed else colour),
                Text(took(span.duration_ms)),
                Text(tokens(span.input_tokens or 0, span.output_tokens or 0)),
                Text(money(span.cost_usd)),
            ]
        )
    return rows


def _branch(tree: TraceTree, number: int) -> str:
    """The lines that lead to a node."""
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
