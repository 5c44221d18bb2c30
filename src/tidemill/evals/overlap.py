"""Scorers of overlapping words and characters, from the libraries that papers report with."""

from typing import ClassVar, Literal

from nltk.stem.porter import PorterStemmer
from pydantic import Field
from rouge_score.rouge_scorer import RougeScorer  # noqa: TID253 - this module loads on first use
from sacrebleu.metrics import BLEU, CHRF  # noqa: TID253 - this module loads on first use

from tidemill.core.tokens import SPACELESS, tokens
from tidemill.core.wire import Body
from tidemill.evals.scorers import text_of
from tidemill.evals.types import AnswerScore, EvalItem


class Bleu(Body):
    """BLEU (sacrebleu, Papineni 2002): smoothed sentence score per item; the corpus figure is the usual BLEU."""

    needs_expected: ClassVar[bool] = True

    def score(self, item: EvalItem, answer: str) -> AnswerScore:
        """Return the sentence BLEU of the answer, scaled to 0 to 1."""
        expected, answer = _split_spaceless([text_of(item.expected), answer])
        result = BLEU(effective_order=True).sentence_score(answer, [expected])
        return AnswerScore(value=min(1.0, result.score / 100))

    def corpus(self, expected: list[str], answers: list[str]) -> float:
        """Return the corpus BLEU of all answers, scaled to 0 to 1."""
        expected, answers = _split_spaceless(expected), _split_spaceless(answers)
        return min(1.0, float(BLEU().corpus_score(answers, [expected]).score) / 100)


def _split_spaceless(texts: list[str]) -> list[str]:
    """Return the texts with spaces between the characters of scripts that have none between words."""
    return [SPACELESS.sub(r" \g<0> ", text) for text in texts]


class _Tokenizer:
    """What rouge-score compares: words of every script, characters where there are no spaces between words."""

    def __init__(self, *, stem: bool) -> None:
        self.stem = stem

    def tokenize(self, text: str) -> list[str]:
        """Return the tokens of a text; English ones as stems, as rouge-score makes them."""
        if not (self.stem and text.isascii()):
            return tokens(text)
        stemmer = PorterStemmer()
        return [stemmer.stem(token) if len(token) > 3 else token for token in tokens(text)]


class RougeL(Body):
    """ROUGE-L F1 (rouge-score, Lin 2004), over words of every script."""

    needs_expected: ClassVar[bool] = True
    stem: bool = Field(default=True, description="Compare word stems (English; only where both texts are ASCII).")

    def score(self, item: EvalItem, answer: str) -> AnswerScore:
        """F1 of the longest common subsequence of words."""
        expected = text_of(item.expected)
        stem = self.stem and expected.isascii() and answer.isascii()
        if not tokens(expected) and not tokens(answer):
            return AnswerScore(value=float(expected.strip() == answer.strip()))
        result = RougeScorer(["rougeL"], tokenizer=_Tokenizer(stem=stem)).score(expected, answer)
        return AnswerScore(value=result["rougeL"].fmeasure)


class ChrF(Body):
    """chrF (sacrebleu, Popovic 2015): F score of character n-grams, for every language."""

    needs_expected: ClassVar[bool] = True
    words: Literal[0, 2] = Field(default=0, description="2 gives chrF++.")

    def score(self, item: EvalItem, answer: str) -> AnswerScore:
        """Return the sentence chrF of the answer, scaled to 0 to 1."""
        result = CHRF(word_order=self.words).sentence_score(answer, [text_of(item.expected)])
        return AnswerScore(value=min(1.0, result.score / 100))

    def corpus(self, expected: list[str], answers: list[str]) -> float:
        """Return the corpus chrF of all answers, scaled to 0 to 1."""
        return min(1.0, float(CHRF(word_order=self.words).corpus_score(answers, [expected]).score) / 100)
