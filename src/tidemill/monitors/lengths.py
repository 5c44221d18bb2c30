"""Lengths of time as people type and read them."""

import re

from tidemill.core.errors import BadRequest

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


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
