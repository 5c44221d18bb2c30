"""Lengths of time as people type and read them."""

import re

from tidemill.core.errors import BadRequest

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def parse_duration(text: str) -> int:
    """Return `90s`, `5m`, `1h` or `30d` in seconds. Raises BadRequest."""
    match = re.fullmatch(r"(\d{1,9})\s*(s|m|min|h|d|w)", text.strip())
    if match is None:
        raise BadRequest(f"{text!r} is not a length of time.", hint="Write 90s, 5m, 1h or 30d.")
    return int(match.group(1)) * _UNITS[match.group(2)]


def format_duration(seconds: int | float) -> str:
    """Return seconds in the largest unit that fits evenly: 3d, 90s."""
    for unit in ("d", "h", "m"):
        if seconds >= _UNITS[unit] and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:g}{unit}"
    return f"{seconds:g}s"
