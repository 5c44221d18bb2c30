"""What makes a figure doubtful although it looks good: one answer to everything, a class that is never named."""

from collections import Counter
from collections.abc import Mapping, Sequence

from tidemill.core.parsing import parse_json
from tidemill.evals.scorers import Exact, LabelAccuracy, NormalisedMatch, Scorer, text_of
from tidemill.evals.types import AnswerWarning, EvalItem, EvalResult

FEWEST = 8
"""Answers below this number say nothing about how varied a model is."""
NEARLY_ALL = 0.95
_NAMED = 10
_LONGEST = 60


def check_answers(
    answers: Sequence[str | None],
    expected: Sequence[str | None],
    *,
    metric: str | None = None,
    mean: float | None = None,
    classes: bool = False,
) -> list[AnswerWarning]:
    """Return what is suspicious about answers beside the expected ones, in the same order.

    `answers` and `expected` hold labels or whole texts (None: no label, or nothing expected). `mean` is the metric's
    mean where it counts answers that are right; `classes` says that the texts are labels of a set.
    """
    if len(answers) < FEWEST:
        return []
    warnings = _constant(answers, expected, metric)
    if classes:
        warnings += _never_answered(answers, expected, metric)
    if mean is not None and metric is not None:
        warnings += _below_majority(expected, metric, mean)
    return warnings


def _constant(answers: Sequence[str | None], expected: Sequence[str | None], metric: str | None) -> list[AnswerWarning]:
    answer, count = Counter(answers).most_common(1)[0]
    share = count / len(answers)
    usual = Counter(expected).most_common(1)[0][1] / len(expected) if any(e is not None for e in expected) else 0.0
    # Data that nearly always expects the same may be answered so.
    if answer is None or share < NEARLY_ALL or share <= usual:
        return []
    code = "constant_answer" if count == len(answers) else "near_constant_answer"
    rest = f" ({usual:.0%} are expected to be the same)" if usual else ""
    return [
        AnswerWarning(
            code=code,
            metric=metric,
            message=f"{count} of {len(answers)} answers are {_short(answer)}, whatever was asked{rest}.",
            details={"answer": answer[:500], "count": count, "of": len(answers), "expected_share": usual},
        )
    ]


def _never_answered(
    answers: Sequence[str | None], expected: Sequence[str | None], metric: str | None
) -> list[AnswerWarning]:
    items = Counter(label for label in expected if label is not None)
    missing = [label for label, _ in items.most_common() if label not in set(answers)]
    if not missing or len(items) < 2:
        return []
    names = ", ".join(f"{label} ({items[label]} items)" for label in missing[:_NAMED])
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    return [
        AnswerWarning(
            code="class_never_predicted",
            metric=metric,
            message=f"Never answered, though expected: {names}{more}.",
            details={"classes": {label: items[label] for label in missing}},
        )
    ]


def _below_majority(expected: Sequence[str | None], metric: str, mean: float) -> list[AnswerWarning]:
    counts = Counter(text for text in expected if text is not None)
    if len(counts) < 2 or len(counts) * 2 > len(expected):
        return []
    answer, count = counts.most_common(1)[0]
    share = count / len(expected)
    if mean > share:
        return []
    return [
        AnswerWarning(
            code="not_above_majority",
            metric=metric,
            message=f"{metric} is {mean:.1%}; always answering {_short(answer)} would give {share:.1%}.",
            details={"mean": mean, "majority": answer[:500], "majority_share": share},
        )
    ]


def check_run(
    scorers: Mapping[str, Scorer],
    items: Mapping[str, EvalItem],
    answered: Sequence[EvalResult],
    means: Mapping[str, float | None],
) -> list[AnswerWarning]:
    """Return what is suspicious about a run's answers; `items` by id, `means` by metric."""
    warnings = [w for name, scorer in scorers.items() for w in _objects(name, scorer, items, answered)]
    if len({r.item_id for r in answered}) < FEWEST:
        return warnings
    texts = [" ".join((r.answer or "").split()) for r in answered]
    values = [items[r.item_id].expected for r in answered]
    expected = [None if value is None else " ".join(text_of(value).split()) for value in values]
    for name, scorer in scorers.items():
        if isinstance(scorer, LabelAccuracy):
            labels = [r.scores[name].label for r in answered]
            right = [scorer.expected_label(items[r.item_id]) for r in answered]
            warnings += check_answers(labels, right, metric=name, mean=means[name], classes=True)
        elif isinstance(scorer, Exact | NormalisedMatch) and (mean := means[name]) is not None:
            warnings += _below_majority(expected, name, mean)
    if not any(w.code in ("constant_answer", "near_constant_answer") for w in warnings):
        warnings += check_answers(texts, expected)
    return warnings


def _objects(
    name: str, scorer: Scorer, items: Mapping[str, EvalItem], answered: Sequence[EvalResult]
) -> list[AnswerWarning]:
    """Return a warning when whole JSON objects were compared with labels or plain texts."""
    if isinstance(scorer, LabelAccuracy):
        if scorer.json_field is not None:
            return []
    elif not isinstance(scorer, Exact | NormalisedMatch) or any(
        _object_fields(text_of(items[r.item_id].expected)) for r in answered
    ):
        return []
    objects = [fields for result in answered if (fields := _object_fields(result.answer or ""))]
    if len(objects) * 2 <= len(answered):
        return []
    field = Counter(name for fields in objects for name in fields).most_common(1)[0][0]
    return [
        AnswerWarning(
            code="json_not_read",
            metric=name,
            message=f"{len(objects)} of {len(answered)} answers are JSON objects, and the whole answer was taken for "
            "the label. Name the field that holds it: json_field, such as "
            f'label_accuracy:{{"json_field": "{field}"}}.',
            details={"objects": len(objects), "of": len(answered), "field": field},
        )
    ]


def _object_fields(answer: str) -> list[str]:
    if not answer.lstrip().startswith("{"):
        return []
    try:
        value = parse_json(answer)
    except ValueError:
        return []
    return list(value) if isinstance(value, dict) else []


def _short(text: str) -> str:
    return repr(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…")
