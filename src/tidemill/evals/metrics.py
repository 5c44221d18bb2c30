"""Summarise the scores of a run: means with intervals, label reports, latencies, failures apart."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from tidemill.evals.answer_checks import check_run
from tidemill.evals.scorers import INVALID, CorpusScorer, LabelAccuracy, Scorer, text_of
from tidemill.evals.types import (
    Confusion,
    EvalItem,
    EvalResult,
    LabelMetrics,
    LabelReport,
    Metric,
    RunMetrics,
)
from tidemill.stats.clusters import cluster_sizes, degrees_of_freedom, design_effect, intra_correlation
from tidemill.stats.rates import wilson

CONFIDENCE = 0.95


def label_report(expected: Sequence[str], answered: Sequence[str | None], labels: Sequence[str]) -> LabelReport:
    """Return precision, recall and F1 per label and in the mean over labels, and the confusion matrix.

    An answer without a label (None) is a column of its own: it lowers recall, and nobody's precision.
    """
    from sklearn import metrics

    order = list(labels)
    predicted = [label if label in order else INVALID for label in answered]
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        expected, predicted, labels=order, zero_division=0.0
    )
    matrix = metrics.confusion_matrix(expected, predicted, labels=[*order, INVALID])[: len(order)]
    classes = [
        LabelMetrics(
            label=label,
            precision=float(precision[i]),
            recall=float(recall[i]),
            f1=float(f1[i]),
            support=int(support[i]),
        )
        for i, label in enumerate(order)
    ]
    return LabelReport(
        classes=classes,
        macro_precision=float(np.mean(precision)),
        macro_recall=float(np.mean(recall)),
        macro_f1=float(np.mean(f1)),
        confusion=Confusion(labels=order, columns=[*order, INVALID], counts=[[int(n) for n in row] for row in matrix]),
    )


def summarise(
    items: Sequence[EvalItem], results: Sequence[EvalResult], scorers: dict[str, Scorer], seconds: float
) -> RunMetrics:
    """Return all metrics of a run. Failures are in none of them; one without any answer is null, never NaN."""
    answered = [r for r in results if not r.failed]
    by_id = {item.id: item for item in items}
    latencies = [r.latency_ms for r in answered if r.latency_ms is not None]
    metrics = [_metric(name, scorer, by_id, answered) for name, scorer in scorers.items()]
    warnings = check_run(scorers, by_id, answered, {m.name: m.mean for m in metrics})
    notes = {w.metric: w.message for w in warnings if w.code == "json_not_read"}
    metrics = [m.model_copy(update={"note": notes.get(m.name)}) for m in metrics]
    return RunMetrics(
        items=len(items),
        answers=len(answered),
        failures=len(results) - len(answered),
        cached=sum(r.cached for r in answered),
        oldest_answer_at=min((r.at for r in answered), default=None),
        metrics=metrics,
        latency_p50_ms=float(np.quantile(latencies, 0.5)) if latencies else None,
        latency_p95_ms=float(np.quantile(latencies, 0.95)) if latencies else None,
        prompt_tokens=_total([r.prompt_tokens for r in answered]),
        output_tokens=_total([r.output_tokens for r in answered]),
        seconds=seconds,
        errors=dict(Counter(r.error.code or "unknown" for r in results if r.error is not None)),
        warnings=warnings,
    )


def _total(counts: Sequence[int | None]) -> int | None:
    reported = [c for c in counts if c is not None]
    return sum(reported) if reported else None


def _metric(name: str, scorer: Scorer, items: dict[str, EvalItem], answered: Sequence[EvalResult]) -> Metric:
    if not answered:
        return Metric(name=name, mean=None, low=None, high=None, interval=None, items=0)
    repeats: dict[str, list[float]] = {}
    for result in answered:
        repeats.setdefault(result.item_id, []).append(result.scores[name].value)
    values = np.array([np.mean(v) for v in repeats.values()])
    low, high, kind = interval(values, [items[i].cluster_id for i in repeats])
    return Metric(
        name=name,
        mean=float(values.mean()),
        low=low,
        high=high,
        confidence=CONFIDENCE,
        interval="wilson" if kind == "wilson" else "clustered_t" if kind else None,
        items=len(values),
        invalid=sum(r.scores[name].invalid for r in answered),
        corpus=_corpus(scorer, items, answered),
        within_share=_within_share(list(repeats.values())),
        labels=_labels(name, scorer, items, answered),
    )


def interval(values: np.ndarray, clusters: Sequence[str]) -> tuple[float | None, float | None, str | None]:
    """Return the 95% interval of a mean of scores from 0 to 1, clusters counted: Wilson's for pass/fail, else t."""
    from scipy import special

    index, sizes = cluster_sizes(clusters)
    n_eff = len(values) / design_effect(sizes, intra_correlation(values, index, sizes))
    if np.isin(values, (0, 1)).all():
        share = float(values.mean())
        rate = wilson(share * n_eff, n_eff, CONFIDENCE)
        return rate.low, rate.high, "wilson"
    df = degrees_of_freedom(sizes)
    if df <= 0:
        return None, None, None
    half = float(special.stdtrit(df, 0.5 + CONFIDENCE / 2) * values.std(ddof=1) / np.sqrt(n_eff))
    mean = float(values.mean())
    return max(0.0, mean - half), min(1.0, mean + half), "clustered_t"


def _within_share(repeats: list[list[float]]) -> float | None:
    several = [np.array(v) for v in repeats if len(v) > 1]
    if not several:
        return None
    within = float(np.mean([v.var(ddof=1) for v in several]))
    means = np.array([v.mean() for v in several])
    count = float(np.mean([len(v) for v in several]))
    between = max(0.0, float(means.var(ddof=1)) - within / count) if len(means) > 1 else 0.0
    return within / (within + between) if within + between > 0 else 0.0


def _corpus(scorer: Scorer, items: dict[str, EvalItem], answered: Sequence[EvalResult]) -> float | None:
    if not isinstance(scorer, CorpusScorer):
        return None
    return scorer.corpus([text_of(items[r.item_id].expected) for r in answered], [r.answer or "" for r in answered])


def _labels(
    name: str, scorer: Scorer, items: dict[str, EvalItem], answered: Sequence[EvalResult]
) -> LabelReport | None:
    if not isinstance(scorer, LabelAccuracy):
        return None
    expected = [scorer.expected_label(items[r.item_id]) for r in answered]
    labels = scorer.labels or sorted(set(expected))
    return label_report(expected, [r.scores[name].label for r in answered], labels)
