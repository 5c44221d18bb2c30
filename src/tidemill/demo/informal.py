"""A new crowd of users: the same kinds of question, written as on a telephone, and more about numbers and people."""

import random
import re
from typing import Any

SHORT = {
    "what": "wat",
    "whats": "wats",
    "which": "wich",
    "who": "hu",
    "whom": "hum",
    "how": "hw",
    "many": "mny",
    "much": "mch",
    "are": "r",
    "you": "u",
    "the": "da",
    "does": "dz",
    "did": "dd",
    "is": "iz",
    "was": "wz",
    "were": "wr",
    "where": "wer",
    "when": "wen",
    "why": "y",
    "for": "4",
    "to": "2",
    "and": "n",
    "name": "nme",
}

FAVOURED = {"NUM": 3.0, "HUM": 2.0}
"""How much more often the new crowd asks for these types of answer than the old one did."""

_MARKS = re.compile(r"[`'\"?.,!]")


def texted(question: str) -> str:
    """Return a question as somebody types it on a telephone: `wat iz da capital of greece`."""
    return " ".join(SHORT.get(word, word) for word in _MARKS.sub("", question).lower().split())


def shifted(rows: list[dict[str, Any]], count: int, *, seed: int, share: float = 0.75) -> list[dict[str, Any]]:
    """`count` different rows with other topics, `share` of them texted."""
    luck = random.Random(seed)
    # Weighted drawing without replacement (Efraimidis and Spirakis 2006): the largest keys u^(1/w) are taken.
    keyed = sorted(rows, key=lambda row: luck.random() ** (1 / FAVOURED.get(row["label"], 1.0)), reverse=True)
    chosen = keyed[:count]
    luck.shuffle(chosen)
    return [row | {"text": texted(row["text"])} if luck.random() < share else row for row in chosen]
