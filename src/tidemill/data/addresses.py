"""Email addresses in text, with letters of any script."""

import re
from collections.abc import Iterator

_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Thai, Lao, Burmese, Khmer, Japanese and Chinese part no words by spaces: an address runs into its neighbours."""
_LETTER = rf"(?:(?![{_UNSPACED}])[^\W_]|(?<=[^\W_])[\u0300-\u036f\u0900-\u0dff])"
_LOCAL_REVERSED = re.compile(
    rf"(?![{_UNSPACED}])[^\W_](?:(?![{_UNSPACED}])[\w.%+'\u0300-\u036f\u0900-\u0dff-]){{0,63}}"
)
_LOCAL_UNSPACED_REVERSED = re.compile(rf"[{_UNSPACED}][{_UNSPACED}0-9A-Za-z._-]{{0,19}}")
_DOMAIN = re.compile(
    rf"(?:{_LETTER}(?:(?:{_LETTER}|-){{0,61}}{_LETTER})?\.){{1,8}}(?:xn--[0-9A-Za-z-]{{2,59}}|(?:(?!\d){_LETTER}){{2,24}})"
)
_DOMAIN_UNSPACED = re.compile(rf"(?:[{_UNSPACED}0-9A-Za-z-]{{1,30}}\.){{1,4}}[{_UNSPACED}A-Za-z]{{2,10}}")
_LONGEST_LOCAL, _LONGEST_DOMAIN = 64, 255


def find_addresses(text: str) -> Iterator[tuple[int, int]]:
    """Yield the span of each email address in a folded text."""
    end = 0
    at = text.find("@")
    while at >= 0:
        start = _local_start(text, at, max(at - _LONGEST_LOCAL, end))
        stop = _domain_end(text, at + 1) if start < at else at
        if start < at and stop > at + 1:
            yield start, stop
            end = stop
        at = text.find("@", max(at + 1, end))


def _local_start(text: str, at: int, least: int) -> int:
    """Return where the local part begins; `at` when there is none."""
    backwards = text[least:at][::-1]
    match = _LOCAL_REVERSED.match(backwards) or _LOCAL_UNSPACED_REVERSED.match(backwards)
    if match is None:
        return at
    local = match.group()[::-1].lstrip("'-%+")  # an opening quote or a list's dash before the address
    return at if local.startswith(".") or ".." in local else at - len(local)


def _domain_end(text: str, start: int) -> int:
    """Return where the domain ends; `start` when there is none."""
    window = text[start : start + _LONGEST_DOMAIN]
    match = _DOMAIN.match(window) or _DOMAIN_UNSPACED.match(window)
    return start if match is None else start + match.end()
