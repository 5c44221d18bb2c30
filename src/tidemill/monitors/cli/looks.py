"""How monitors look in a terminal: verdicts in colour, bars, small charts."""

from collections.abc import Sequence

from rich.text import Text

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
    said = f" {left:.0%}" if left >= 0 else f" overspent by {-left:.0%}"
    return Text.assemble(("█" * full, colour), ("░" * (width - full), "dim"), said)


def spark(values: Sequence[float | None]) -> str:
    """A line of small bars; a gap where there is nothing."""
    known = [v for v in values if v is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    scale = (high - low) or 1.0
    return "".join(" " if v is None else _BARS[round((len(_BARS) - 1) * (v - low) / scale)] for v in values)
