"""How monitors look in a terminal: lengths of time as people type them, verdicts in colour, bars, small charts."""

import re
from collections.abc import Sequence

from rich.text import Text

from tidemill.core.errors import BadRequest

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

_COLOURS = {
    "pass": "green",
    "quiet": "green",
    "sent": "green",
    "resolved": "green",
    "fail": "bold red",
    "burning": "bold red",
    "failed": "bold red",
    "open": "bold red",
    "page": "bold red",
    "acknowledged": "yellow",
    "ticket": "yellow",
    "waiting": "yellow",
    "inconclusive": "yellow",
}

_BARS = "▁▂▃▄▅▆▇█"


def seconds(text: str) -> int:
    """`90s`, `5m`, `1h`, `30d` as seconds. Raises BadRequest."""
    found = re.fullmatch(r"(\d{1,9})\s*(s|m|min|h|d|w)", text.strip())
    if found is None:
        raise BadRequest(f"{text!r} is not a length of time.", hint="Write 90s, 5m, 1h or 30d.")
    return int(found.group(1)) * _UNITS[found.group(2)]


def span(count: int | float) -> str:
    """Seconds in the largest unit that fits evenly: 3d, 90s."""
    for unit in ("d", "h", "m"):
        if count >= _UNITS[unit] and count % _UNITS[unit] == 0:
            return f"{count / _UNITS[unit]:g}{unit}"
    return f"{count:g}s"


def verdict(word: str | None) -> Text:
    """A verdict or a state in its colour."""
    return Text("-", style="dim") if word is None else Text(word, style=_COLOURS.get(word, ""))


def share(value: float | None, digits: int = 2) -> str:
    """A share in per cent."""
    return "-" if value is None else f"{100 * value:.{digits}f}%"


def budget(left: float | None, width: int = 12) -> Text:
    """What is left of an error budget, as a bar."""
    if left is None:
        return Text("-", style="dim")
    full = round(width * max(0.0, min(1.0, left)))
    colour = "green" if left > 0.5 else "yellow" if left > 0.1 else "red"
    return Text.assemble(("█" * full, colour), ("░" * (width - full), "dim"), f" {left:.0%}")


def spark(values: Sequence[float | None]) -> str:
    """A line of small bars; a gap where there is nothing."""
    known = [v for v in values if v is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    scale = (high - low) or 1.0
    return "".join(" " if v is None else _BARS[round((len(_BARS) - 1) * (v - low) / scale)] for v in values)
