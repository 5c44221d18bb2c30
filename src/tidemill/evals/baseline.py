"""Naive Bayes over words: the baseline that a language model must beat to be worth its cost."""

from collections.abc import Sequence

import numpy as np


class NaiveBayes:
    """Multinomial Naive Bayes over counts of words and word pairs (scikit-learn)."""

    def __init__(self, texts: Sequence[str], labels: Sequence[str]) -> None:
        # scikit-learn takes more than a second to import, and only this baseline needs it here.
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.naive_bayes import MultinomialNB
        from sklearn.pipeline import make_pipeline

        words = CountVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b")
        self.model = make_pipeline(words, MultinomialNB(alpha=0.1))
        self.model.fit(list(texts), list(labels))

    def predict(self, texts: Sequence[str]) -> list[str]:
        """Return the most likely label of each text."""
        return [str(label) for label in np.asarray(self.model.predict(list(texts)))]
