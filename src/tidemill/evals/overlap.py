"""Scorers of overlapping words and characters, from the libraries that papers report with."""

from typing import ClassVar, Literal

from pydantic import Field
from rouge_score.rouge_scorer import RougeScorer  # noqa: TID253 - this module loads on first use
from sacrebleu.metrics import BLEU, CHRF  # noqa: TID253 - this module loads on first use

from tidemill.core.wire import Body
from tidemill.evals.scorers import text_of
from tidemill.evals.types import AnswerScore, EvalItem


class Bleu(Body):
    """BLEU (sacrebleu, Papineni 2002): smoothed sentence score per item; the corpus figure is the usual BLEU."""

    needs_expected: ClassVar[bool] = True

    def score(self, item: EvalItem, answer: str) -> AnswerScore:
        """Return the sentence BLEU of the answer, scaled to 0 to 1."""
        result = BLEU(effective_order=True).sentence_score(answer, [text_of(item.expected)])
        return AnswerScore(value=min(1.0, result.score / 100))

    def corpus(self, expected: list[str], answers: list[str]) -> float:
        """Return the corpus BLEU of all answers, scaled to 0 to 1."""
        return min(1.0, float(BLEU().corpus_score(answers, [expected]).score) / 100)


class RougeL(Body):
    """ROUGE-L F1 (rouge-score, Lin 2004)."""

    needs_expected: ClassVar[bool] = True
    stem: bool = Field(default=True, description="Compare word stems (English).")

    def score(self, item: EvalItem, answer: str) -> AnswerScore:
        """F1 of the longest common subsequence of words."""
        result = RougeScorer(["rougeL"], use_stemmer=self.stem).score(text_of(item.expected), answer)
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
