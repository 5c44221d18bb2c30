"""Properties of a text that need no model: its length, language, format, label, and whether it refuses."""

import functools
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.core.labels import label_text
from tidemill.core.parsing import parse_json
from tidemill.core.text import caseless

OTHER = "other"
MIN_SHARE = 0.02
"""Values with a smaller share of all rows are counted together as `other`."""

MOST_GROUPS = 12
_NAME_CHARS = 60
_LANGUAGE_CHARS = 600
_MIN_LANGUAGE_CHARS = 24
"""The language of a shorter text is not guessed."""

_REFUSAL = re.compile(
    r"\b(i('m| am)? (can('|no)?t|cannot|unable to|not able to|won('|)t|will not|do not feel comfortable)"
    r"|i('m| am) (sorry|afraid),? (but )?(i|that|this)|as an ai\b|i must decline|against my (guidelines|policy)"
    r"|(es tut mir leid|je suis désolé|lo siento),? )",
    re.IGNORECASE,
)


def truncate_text(text: str, max_chars: int) -> str:
    """Return the text shortened for a report, without characters that JSON in a database cannot store."""
    clean = text[:max_chars].replace("\x00", "�").encode("utf-8", "replace").decode()
    return clean if len(text) <= max_chars else clean[: max_chars - 1] + "…"


def count_characters(text: str) -> float:
    """Return the number of characters, as a float."""
    return float(len(text))


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def detect_language(text: str) -> str:
    """Return the ISO 639-1 code of the language, `short` for a short text, `unsure` below 80% confidence."""
    return "short" if len(text) < _MIN_LANGUAGE_CHARS else _language(text[:_LANGUAGE_CHARS])


@functools.lru_cache(maxsize=8192)  # the reference is the same in every check
def _language(text: str) -> str:
    code, likelihood = _identifier().classify(text)
    return str(code) if likelihood >= 0.8 else "unsure"


def classify_refusal(text: str) -> str:
    """Return `refused` or `answered`, by the usual phrases of refusal in the first 300 characters."""
    return "refused" if _REFUSAL.search(text[:300].replace("’", "'")) else "answered"


def detect_format(text: str) -> str:
    """Return `json`, `broken json` (begins like an object or a list but does not parse), `empty` or `text`."""
    stripped = text.strip()
    if not stripped:
        return "empty"
    if stripped[0] not in "{[":
        return "text"
    try:
        parse_json(stripped)
    except ValueError:
        return "broken json"
    return "json"


def label_reader(field: str | None, labels: Sequence[str] | None) -> Callable[[str], str | None]:
    """Return a function that finds the label in an answer: a field of its JSON, or a plain answer in `labels`."""
    declared = [label_text(label) or "" for label in labels or []]
    labels_by_name = {caseless(label): label for label in declared}

    def read(text: str) -> str | None:
        answer: Any = label_text(text) or ""
        if field is not None:
            try:
                value = parse_json(answer)
            except ValueError:
                return "none" if answer[:1] in "{[" else (answer if answer in labels_by_name.values() else "none")
            answer = label_text(value.get(field)) if isinstance(value, dict) else None
            if answer is None:
                return "none"
        return labels_by_name.get(caseless(answer), OTHER) if labels_by_name else answer

    return read


@dataclass(frozen=True)
class Groups:
    """A categorical value as numbers: the group of each row, and the names of the groups."""

    codes: NDArray[np.int64]
    names: list[str]


def group_values(values: Sequence[str]) -> Groups:
    """Return values as group numbers; values that are rare over both sides together form one group."""
    values = [truncate_text(value, _NAME_CHARS) for value in values]
    counts = Counter(values)
    names = [name for name, count in counts.most_common(MOST_GROUPS) if count >= MIN_SHARE * len(values)]
    code_of = {name: number for number, name in enumerate(names)}
    codes = np.array([code_of.get(value, len(names)) for value in values], dtype=np.int64)
    return Groups(codes, [*names, OTHER] if (codes == len(names)).any() else names)
