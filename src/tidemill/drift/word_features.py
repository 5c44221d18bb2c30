"""How texts are worded: which common words they hold, and how they begin.

Sentence vectors are made to tell what a text is about; they say less about what it asks for ("who", "how many",
"translate"), and that is what often shifts. Words that many texts share, and above all the first ones, do say it.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SHARED = 0.01
"""Words in a smaller share of the texts are left out: they are about what vectors know better."""

MOST = 1000
_CHARS = 4096

_SIGNS = "\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_SIGNS}]|[^\W{_SIGNS}]+")
"""Where a language writes no spaces, each sign counts as a word."""


def terms(text: str) -> set[str]:
    """The words of a text, and its first one and first two with a mark."""
    words = [word.casefold() for word in _WORD.findall(text[:_CHARS])]
    return {*words, *("^" + " ".join(words[:count]) for count in (1, 2) if len(words) >= count)}


def features(texts: Sequence[str]) -> NDArray[np.float32]:
    """Which shared terms each text holds (texts, terms), rows of length 1; zeros for a text that holds none.

    The terms are chosen from both sides together, so that permuting the sides is fair.
    """
    found = [terms(text) for text in texts]
    counts = Counter(term for held in found for term in held)
    least = max(2, SHARED * len(texts))
    kept = sorted((term for term, count in counts.items() if count >= least), key=lambda t: (-counts[t], t))[:MOST]
    place = {term: number for number, term in enumerate(kept)}
    made = np.zeros((len(texts), len(kept)), dtype=np.float32)
    for row, held in enumerate(found):
        made[row, [place[term] for term in held if term in place]] = 1
    made /= np.maximum(np.sqrt(made.sum(axis=1, keepdims=True)), 1)
    return made
