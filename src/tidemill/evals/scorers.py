"""Scorers: each gives an answer a value from 0 to 1. They are the named seam `tidemill.scorers`."""

import json
import unicodedata
from typing import Any, ClassVar, Protocol, runtime_checkable

import re2
from pydantic import BaseModel, Field, JsonValue, ValidationError, field_validator

from tidemill.core.labels import label_text
from tidemill.core.parsing import parse_json
from tidemill.core.plugins import Plugins
from tidemill.core.text import caseless
from tidemill.core.tokens import fold, tokens
from tidemill.core.value_faults import sentence_of
from tidemill.core.wire import Body
from tidemill.evals.types import AnswerScore, EvalItem, ScorerInvalid, ScorerSpec

GROUP = "tidemill.scorers"
INVALID = "(invalid)"


class Scorer(Protocol):
    """Scores one answer. A scorer is a class whose constructor takes its settings as keywords."""

    needs_expected: ClassVar[bool]

    def score(self, item: EvalItem, answer: str) -> AnswerScore:
        """Return the score of `answer`; never an error for what a model may say."""
        ...


@runtime_checkable
class CorpusScorer(Protocol):
    """A scorer that also has a figure for all answers together, which is not the mean of the items' scores."""

    def corpus(self, expected: list[str], answers: list[str]) -> float:
        """Return the figure over all answers, from 0 to 1."""
        ...


def text_of(expected: JsonValue) -> str:
    """Return an expected answer as text: strings as they are, other JSON serialised."""
    return expected if isinstance(expected, str) else json.dumps(expected, ensure_ascii=False, sort_keys=True)


def normalise(text: str) -> str:
    """Return the text in folded case, without punctuation around words, articles and extra spaces, as SQuAD does.

    Unlike there, what carries meaning stays: signs, decimal points, symbols (C++, 5%, !=), and `a` where it is a label
    (at the end, or before a symbol). Numbers are in plain form: 3.10 is 3.1, as values, not as versions.
    """
    words = tokens(text)
    following = [*words[1:], "."]
    bare = [word for word, after in zip(words, following, strict=False) if not _is_article(word, after)]
    return " ".join(bare) or fold(text).strip()


def _is_article(word: str, after: str) -> bool:
    return word in ("the", "an") or (word == "a" and any(char.isalnum() for char in after))


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip())


def _yes(passed: bool) -> AnswerScore:
    return AnswerScore(value=1.0 if passed else 0.0)


class Exact(Body):
    """The answer is the expected text, spaces at both ends aside."""

    needs_expected: ClassVar[bool] = True

    def score(self, item: EvalItem, answer: str) -> AnswerScore:
        """Return 1 when the answer equals the expected one, else 0."""
        return _yes(_composed(answer) == _composed(text_of(item.expected)))


class NormalisedMatch(Body):
    """The answer is the expected text but for case, punctuation around words, articles and spaces.

    Numbers are equal by value (3.10 and 3.1, 1,000 and 1000); for versions and codes use `exact`.
    """

    needs_expected: ClassVar[bool] = True

    def score(self, item: EvalItem, answer: str) -> AnswerScore:
        """Return 1 when the texts are equal after normalisation, else 0."""
        return _yes(normalise(answer) == normalise(text_of(item.expected)))


class Contains(Body):
    """The expected text occurs in the answer."""

    needs_expected: ClassVar[bool] = True
    ignore_case: bool = True

    def score(self, item: EvalItem, answer: str) -> AnswerScore:
        """Return 1 when the expected text occurs in the answer, else 0."""
        expected = text_of(item.expected)
        if self.ignore_case:
            return _yes(fold(expected) in fold(answer))
        return _yes(_composed(expected) in _composed(answer))


class Regex(Body):
    """A regular expression (RE2, linear time) matches somewhere in the answer."""

    needs_expected: ClassVar[bool] = False
    pattern: str = Field(min_length=1, max_length=2000)
    whole: bool = Field(default=False, description="It must match the whole answer.")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re2.compile(pattern)
        except re2.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression of RE2: {error}") from error
        return pattern

    def score(self, item: EvalItem, answer: str) -> AnswerScore:
        """Return 1 when the answer matches the pattern, else 0."""
        match = re2.fullmatch(self.pattern, answer) if self.whole else re2.search(self.pattern, answer)
        return _yes(match is not None)


class JsonSchemaValid(Body):
    """The answer is JSON that a JSON Schema accepts; what is not JSON at all is also counted as invalid."""

    needs_expected: ClassVar[bool] = False
    json_schema: dict[str, Any] = Field(description="The schema (draft 2020-12 unless it says otherwise).")

    @field_validator("json_schema")
    @classmethod
    def _is_schema(cls, schema: dict[str, Any]) -> dict[str, Any]:
        import jsonschema_rs

        try:
            jsonschema_rs.validator_for(schema)
        except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
            raise ValueError(f"not a JSON Schema: {error}") from error
        return schema

    def score(self, item: EvalItem, answer: str) -> AnswerScore:
        """Return 1 when the answer is valid under the schema, else 0."""
        import jsonschema_rs

        try:
            value = parse_json(answer)
        except ValueError:
            return AnswerScore(value=0, invalid=True)
        return _yes(jsonschema_rs.is_valid(self.json_schema, value))


class LabelAccuracy(Body):
    """The answer names the expected label, as plain text or in a field of a JSON object.

    An answer from which no label of the set can be read is wrong, and counted apart as invalid.
    """

    needs_expected: ClassVar[bool] = True
    labels: list[str] | None = Field(default=None, min_length=2, description="The set. Default: those of the items.")
    json_field: str | None = Field(default=None, description="The field that holds the label.")
    ignore_case: bool = False

    @field_validator("labels")
    @classmethod
    def _as_labels(cls, labels: list[str] | None) -> list[str] | None:
        if labels is None:
            return None
        unique = list(dict.fromkeys(label_text(label) or "" for label in labels))
        if len(unique) < 2:
            raise ValueError("a set of labels needs two that differ")
        return unique

    def score(self, item: EvalItem, answer: str) -> AnswerScore:
        """Return 1 when the label in the answer is the expected one, else 0."""
        label = self.read(answer)
        if label is None:
            return AnswerScore(value=0, invalid=True)
        return AnswerScore(value=1.0 if label == self.expected_label(item) else 0.0, label=label)

    def expected_label(self, item: EvalItem) -> str:
        """Return the label that the item expects."""
        value = item.expected.get(self.json_field) if isinstance(item.expected, dict) and self.json_field else None
        text = label_text(item.expected if value is None else value) or text_of(item.expected)
        return self._match_label(self._field(text) or text) or text

    def read(self, answer: str) -> str | None:
        """Return the label in an answer; None when there is none."""
        label = self._field(answer) if self.json_field else answer
        return self._match_label(label) if label is not None else None

    def _field(self, text: str) -> str | None:
        if self.json_field is None:
            return None
        try:
            value = parse_json(text)
        except ValueError:
            return None
        return label_text(value.get(self.json_field)) if isinstance(value, dict) else None

    def _match_label(self, text: str) -> str | None:
        stripped = _composed(text)
        if self.labels is None:
            return stripped or None
        if not self.ignore_case:
            return stripped if stripped in self.labels else None
        return next((label for label in self.labels if caseless(label) == caseless(stripped)), None)


def build(plugins: Plugins, spec: ScorerSpec) -> Scorer:
    """Return the scorer that `spec` describes.

    Raises PluginMissing for an unknown name, ScorerInvalid for wrong settings.
    """
    kind = plugins.load(GROUP, spec.scorer)
    try:
        scorer: Scorer = kind(**spec.config)
    except (ValidationError, TypeError) as error:
        raise ScorerInvalid(
            f"The settings of the scorer {spec.scorer!r} do not fit: {_first_problem(error)}.",
            hint=f"It takes: {', '.join(_settings(kind)) or 'nothing'}.",
            param="scorers",
        ) from error
    return scorer


def _settings(kind: type) -> list[str]:
    return list(kind.model_fields) if issubclass(kind, BaseModel) else []


def _first_problem(error: Exception) -> str:
    return sentence_of(error) if isinstance(error, ValidationError) else str(error)


def check_expected(metric: str, scorer: Scorer, items: list[EvalItem]) -> None:
    """Raise ScorerInvalid when the scorer needs an expected answer that an item lacks."""
    if not scorer.needs_expected:
        return
    lacking = next((item for item in items if item.expected is None), None)
    if lacking is not None:
        raise ScorerInvalid(
            f"{metric} needs an expected answer, and item {lacking.id} has none.",
            hint="Map a column to `expected`, or use a scorer that needs none (regex, json_schema).",
            param="scorers",
        )
    if isinstance(scorer, LabelAccuracy) and scorer.labels is not None:
        for item in items:
            if scorer.expected_label(item) not in scorer.labels:
                raise ScorerInvalid(
                    f"Item {item.id} expects {scorer.expected_label(item)!r}, which is not in the label set.",
                    hint=f"The set is {', '.join(scorer.labels)}.",
                    param="scorers",
                )
