"""Binary word features of texts: which common words a text contains, and how it begins.

Sentence vectors are made to tell what a text is about. They say less about what it asks for ("who", "how many",
"translate"), and that is what often shifts. Words that many texts share, above all the first ones, do say it.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MIN_SHARE = 0.01
"""Terms in a smaller share of the texts are left out: the sentence vectors cover them."""

MAX_TERMS = 1000
_MAX_CHARS = 4096

_SIGNS = "\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_SIGNS}]|[^\W{_SIGNS}]+")
"""Where a language writes no spaces, each sign counts as a word."""


def extract_terms(text: str) -> set[str]:
    """Return the words of a text in lower case, and its first word and first two words marked with `^`."""
    words = [word.casefold() for word in _WORD.findall(text[:_MAX_CHARS])]
    return {*words, *("^" + " ".join(words[:count]) for count in (1, 2) if len(words) >= count)}


def build_features(texts: Sequence[str]) -> NDArray[np.float32]:
    """Return which shared terms each text contains (texts, terms), rows of length 1; zeros for a text without any.

    The terms are chosen from both sides together, so that permuting the sides is fair.
    """
    terms_of_texts = [extract_terms(text) for text in texts]
    counts = Counter(term for text_terms in terms_of_texts for term in text_terms)
    min_texts = max(2, MIN_SHARE * len(texts))
    vocabulary = sorted((term for term, count in counts.items() if count >= min_texts), key=lambda t: (-counts[t], t))[
        :MAX_TERMS
    ]
    column = {term: number for number, term in enumerate(vocabulary)}
    matrix = np.zeros((len(texts), len(vocabulary)), dtype=np.float32)
    for row, text_terms in enumerate(terms_of_texts):
        matrix[row, [column[term] for term in text_terms if term in column]] = 1
    matrix /= np.maximum(np.sqrt(matrix.sum(axis=1, keepdims=True)), 1)
    return matrix
