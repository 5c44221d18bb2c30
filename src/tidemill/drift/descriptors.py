"""What can be read off a text without a model: its length, language, form, label, and whether it refuses."""

import functools
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

REST = "other"
RARE = 0.02
"""Groups with a smaller share of all rows are put together: they say little and cost much."""

MOST_GROUPS = 12
_NAME_CHARS = 60
_LANGUAGE_CHARS = 600
_SHORT = 24
"""Below so many characters a guess at the language is hardly better than none."""

_REFUSAL = re.compile(
    r"\b(i('m| am)? (can('|no)?t|cannot|unable to|not able to|won('|)t|will not|do not feel comfortable)"
    r"|i('m| am) (sorry|afraid),? (but )?(i|that|this)|as an ai\b|i must decline|against my (guidelines|policy)"
    r"|(es tut mir leid|je suis désolé|lo siento),? )",
    re.IGNORECASE,
)


def shown(text: str, most: int) -> str:
    """A text as a report can keep it: not too long, and without what JSON in a database cannot hold."""
    clean = text[:most].replace("\x00", "�").encode("utf-8", "replace").decode()
    return clean if len(text) <= most else clean[: most - 1] + "…"


def length(text: str) -> float:
    """Characters."""
    return float(len(text))


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def language(text: str) -> str:
    """ISO 639-1 code of the language; `short` when the text is too short to tell, `unsure` when it does not show."""
    return "short" if len(text) < _SHORT else _language(text[:_LANGUAGE_CHARS])


@functools.lru_cache(maxsize=8192)  # the reference is the same in every check
def _language(text: str) -> str:
    found, likelihood = _identifier().classify(text)
    return str(found) if likelihood >= 0.8 else "unsure"


def refusal(text: str) -> str:
    """Whether an answer says that it will not answer, by the usual wordings in its first 300 characters."""
    return "refused" if _REFUSAL.search(text[:300].replace("’", "'")) else "answered"


def form(text: str) -> str:
    """`json`, `broken json` (begins like an object or a list but cannot be read), `empty` or `text`."""
    stripped = text.strip()
    if not stripped:
        return "empty"
    if stripped[0] not in "{[":
        return "text"
    try:
        json.loads(stripped)
    except (ValueError, RecursionError):
        return "broken json"
    return "json"


def label_reader(field: str | None, labels: Sequence[str] | None) -> Callable[[str], str | None]:
    """How to find the label in an answer: a field of its JSON, or a plain answer that is one of `labels`."""
    known = {label.casefold(): label for label in labels or []}

    def read(text: str) -> str | None:
        said: Any = text.strip()
        if field is not None:
            try:
                value = json.loads(said)
            except (ValueError, RecursionError):
                return "none" if said[:1] in "{[" else (said if said in known.values() else "none")
            said = value.get(field) if isinstance(value, dict) else None
            if not isinstance(said, str):
                return "none"
        return known.get(said.casefold(), REST) if known else said

    return read


@dataclass(frozen=True)
class Groups:
    """Values that are names: the group of each row, and the names of the groups."""

    codes: NDArray[np.int64]
    names: list[str]


def groups(values: Sequence[str]) -> Groups:
    """Names as numbers; rare ones, by both sides together, are one group."""
    values = [shown(value, _NAME_CHARS) for value in values]
    counts = Counter(values)
    kept = [name for name, count in counts.most_common(MOST_GROUPS) if count >= RARE * len(values)]
    place = {name: number for number, name in enumerate(kept)}
    codes = np.array([place.get(value, len(kept)) for value in values], dtype=np.int64)
    return Groups(codes, [*kept, REST] if (codes == len(kept)).any() else kept)
