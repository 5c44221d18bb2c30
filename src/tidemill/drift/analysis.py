"""Compare two samples of rows: the tests, their verdicts, the clusters that changed, and the expected scores.

Nothing here knows where rows come from or where reports go.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tidemill.drift import clusters, descriptors, word_features
from tidemill.drift.label_model import LabelModel
from tidemill.drift.samples import DriftSample, SampleRow
from tidemill.drift.types import (
    ClusterShift,
    DriftExample,
    DriftField,
    DriftMonitor,
    DriftTest,
    QualityShift,
)
from tidemill.drift.verdicts import Method, PermutationResult, adjust_p_values, judge
from tidemill.stats import classifier, importance, mmd, two_sample
from tidemill.stats.permutation import Floats, Labellings, draw_labellings

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts to unit vectors (texts, width)."""

TEXT_FIELDS: tuple[DriftField, ...] = ("inputs", "outputs")
MIN_ROWS = 20
"""With fewer rows in a sample there is no permutation test, whatever the monitor asks for."""

TOPIC_TEST_WEIGHT = 5.0
"""Weight of the tests that are most sensitive to a change of topics; the others weigh 1. Fixed, whatever the data."""

_TOPIC_TESTS = ("mmd", "label")
MAX_CLUSTERS_SHOWN = 5
_EXAMPLES = 3
_EXAMPLE_CHARS = 200


@dataclass
class AnalysisFindings:
    """The results of one comparison."""

    tests: list[DriftTest] = field(default_factory=list)
    clusters: list[ClusterShift] = field(default_factory=list)
    quality: list[QualityShift] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unanswered: bool = False
    """Whether a field had too few rows to be tested."""
    missing_rows: int = 0
    """Further rows of the window that these would need."""
    units: tuple[int, int] = (0, 0)


class DriftAnalysis:
    """Runs the tests of one comparison. `results` holds the permutation results after `run`."""

    def __init__(self, monitor: DriftMonitor, reference: DriftSample, window: DriftSample, embed: Embed) -> None:
        self.monitor = monitor
        self.embed = embed
        self.labelled = reference.labelled
        self.rows = [*reference.rows, *window.rows]
        self.window = np.arange(len(self.rows)) >= len(reference.rows)
        self.units = _independent_units(self.rows, self.window, monitor)
        self.findings = AnalysisFindings(notes=[*reference.notes, *window.notes])
        sides = [int(np.unique(self.units[side]).size) for side in (~self.window, self.window)]
        self.findings.units = (sides[0], sides[1])
        self.results: list[PermutationResult] = []

    def run(self) -> AnalysisFindings:
        """Run all tests and return the findings. P-values are corrected over all tests together."""
        if self._has_enough_rows("rows", np.ones(len(self.rows), dtype=bool)):
            self.labels = draw_labellings(self.window, self.units, self.monitor.permutations, self.monitor.seed)
            for name in TEXT_FIELDS:
                if name in self.monitor.fields:
                    self._compare_texts(name)
            if "outputs" in self.monitor.fields:
                self._compare_labels()
            if "scores" in self.monitor.fields:
                self._compare_scores()
        for result, p in zip(self.results, adjust_p_values(self.results), strict=True):
            self.findings.tests.append(judge(result, p, self.monitor.alpha))
        return self.findings

    def _has_enough_rows(self, name: str, present: NDArray[np.bool_]) -> bool:
        """Return whether both samples have the rows that the monitor asks for; if not, note what is missing."""
        counts = [int((present & side).sum()) for side in (~self.window, self.window)]
        required = max(self.monitor.minimum_rows, MIN_ROWS)
        if min(counts) >= required:
            return True
        self.findings.notes.append(
            f"{name}: {counts[0]} in the reference and {counts[1]} in the window; {required} each are needed."
        )
        if name in ("rows", *TEXT_FIELDS):
            self.findings.unanswered = True
            self.findings.missing_rows = max(self.findings.missing_rows, required - counts[1])
        return False

    def _compare_texts(self, name: DriftField) -> None:
        texts = [row.input if name == "inputs" else row.output for row in self.rows]
        present = np.array([text is not None for text in texts])
        if not present[~self.window].any() or not self._has_enough_rows(name, present):
            return
        present_texts = [text for text in texts if text is not None]
        tests = _FieldTests(self, name, present)
        vectors = self.embed(present_texts)
        tests.compare_vectors(present_texts, vectors)
        if name == "inputs" and self.labelled is not None and self.labelled.enough:
            model = LabelModel(self.embed(self.labelled.texts), self.labelled.labels)
            tests.compare_names("label", model.predict(vectors))
        tests.compare_numbers("length", [descriptors.count_characters(text) for text in present_texts])
        tests.compare_names("language", [descriptors.detect_language(text) for text in present_texts])
        if name == "outputs":
            tests.compare_names("refusal", [descriptors.classify_refusal(text) for text in present_texts])
            tests.compare_names("format", [descriptors.detect_format(text) for text in present_texts])
            tests.compare_names(
                "finish", [row.finish or "unknown" for row, here in zip(self.rows, present, strict=True) if here]
            )

    def _compare_labels(self) -> None:
        labels = [row.label for row in self.rows]
        present = np.array([label is not None for label in labels])
        if present.any() and self._has_enough_rows("outputs.label", present):
            _FieldTests(self, "outputs", present).compare_names(
                "label", [label for label in labels if label is not None]
            )

    def _compare_scores(self) -> None:
        for name in sorted({score for row in self.rows for score in row.scores}):
            present = np.array([name in row.scores for row in self.rows])
            if self._has_enough_rows(f"scores.{name}", present):
                tests = _FieldTests(self, "scores", present)
                tests.compare_numbers(name, [row.scores[name] for row in self.rows if name in row.scores])


class _FieldTests:
    """The tests of one field on the rows that have it."""

    def __init__(self, analysis: DriftAnalysis, name: DriftField, present: NDArray[np.bool_]) -> None:
        self.analysis = analysis
        self.name = name
        self.indices = np.flatnonzero(present)
        self.labels: Labellings = (
            analysis.labels if present.all() else np.ascontiguousarray(analysis.labels[:, present])
        )
        self.window = analysis.window[present]
        self.units = analysis.units[present]
        self.effects = analysis.monitor.minimum_effects

    def _add(self, result: PermutationResult) -> None:
        self.analysis.results.append(result)

    def _result(
        self, kind: str, method: Method, statistics: Floats, effects: Floats, minimum: float
    ) -> PermutationResult:
        return PermutationResult(
            name=f"{self.name}.{kind}",
            field=self.name,
            method=method,
            rows=(int((~self.window).sum()), int(self.window.sum())),
            statistics=statistics,
            effects=effects,
            minimum=minimum,
            weight=TOPIC_TEST_WEIGHT if kind in _TOPIC_TESTS and self.name != "scores" else 1.0,
        )

    def compare_numbers(self, kind: str, values: Sequence[float]) -> None:
        """Add a Kolmogorov-Smirnov test of a number."""
        numbers = np.array(values, dtype=np.float64)
        if (numbers == numbers[0]).all():
            return
        distances = two_sample.ks_distances(numbers, self.labels)
        result = self._result(kind, "ks", distances, distances, self.effects.ks)
        result.figures = (_figures(numbers[~self.window]), _figures(numbers[self.window]))
        self._add(result)

    def compare_names(self, kind: str, values: Sequence[str]) -> None:
        """Add a test of the shares of a categorical value."""
        grouped = descriptors.group_values(values)
        if len(grouped.names) > 1:
            self._compare_shares(kind, grouped)

    def _compare_shares(self, kind: str, grouped: descriptors.Groups) -> None:
        variations = two_sample.total_variations(grouped.codes, len(grouped.names), self.labels)
        result = self._result(kind, "shares", variations, variations, self.effects.share)
        result.figures = (_shares_of(grouped, ~self.window), _shares_of(grouped, self.window))
        self._add(result)

    def compare_vectors(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Add a classifier test and an MMD test, and find which clusters changed."""
        seed = self.analysis.monitor.seed
        predicted = classifier.held_out_predictions(
            classifier.prediction_matrix(vectors, self.units, seed), self.labels
        )
        areas = classifier.roc_areas(predicted, self.labels)
        self._add(self._result("classifier", "classifier", areas, areas, self.effects.auc))
        kernel = mmd.combine_kernels(
            mmd.gaussian_kernel(vectors), mmd.linear_kernel(word_features.build_features(texts))
        )
        distances = mmd.mmd_squared(kernel, self.labels)
        self._add(self._result("mmd", "mmd", distances, np.sqrt(np.maximum(distances, 0)), self.effects.mmd))
        self.analysis.findings.clusters += self._cluster_shifts(texts, vectors)
        if self.name == "inputs":
            self.analysis.findings.quality += self._quality_shifts(predicted[0])

    def _cluster_shifts(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> Iterator[ClusterShift]:
        clustering = clusters.cluster_vectors(vectors, self.analysis.monitor.seed)
        rows = [self.analysis.rows[index] for index in self.indices]
        users = [row.user for row in rows]
        for shift in clusters.find_shifts(clustering, self.labels, self.analysis.monitor.alpha)[:MAX_CLUSTERS_SHOWN]:
            in_cluster = clustering.groups.codes == shift.group
            recent = in_cluster & self.window
            candidates = recent if recent.any() else in_cluster
            example_indices = clusters.find_nearest(
                texts, vectors, clustering.centroids[shift.group], candidates, _EXAMPLES
            )
            yield ClusterShift(
                field=self.name,
                terms=clusters.find_terms(texts, in_cluster),
                share_reference=shift.share_reference,
                share_window=shift.share_window,
                change=shift.change,
                low=shift.low,
                high=shift.high,
                examples=[
                    DriftExample(id=rows[index].id, text=descriptors.truncate_text(texts[index], _EXAMPLE_CHARS))
                    for index in example_indices
                ],
                largest_user_share=clusters.largest_user_share(users, recent),
            )

    def _quality_shifts(self, predicted: NDArray[np.float32]) -> Iterator[QualityShift]:
        ratio = importance.density_ratio(predicted, self.window)
        reference_indices = self.indices[~self.window]
        rows = [self.analysis.rows[index] for index in reference_indices]
        for name in sorted({score for row in rows for score in row.scores}):
            has_score = np.array([name in row.scores for row in rows])
            if has_score.sum() < MIN_ROWS:
                continue
            scores = np.array([row.scores[name] for row in rows if name in row.scores])
            units = self.units[~self.window][has_score]
            estimate = importance.reweighted_mean(scores, ratio[has_score], units, self.analysis.monitor.seed)
            yield QualityShift(
                score=name,
                rows=estimate.rows,
                effective_rows=estimate.effective_rows,
                before=estimate.before,
                expected=estimate.expected,
                change=estimate.expected - estimate.before,
                low=estimate.low,
                high=estimate.high,
            )


def _independent_units(
    rows: Sequence[SampleRow], window: NDArray[np.bool_], monitor: DriftMonitor
) -> NDArray[np.int64]:
    """Return the independent group of each row. One user's rows in both samples count as two groups."""
    key = monitor.cluster_by
    keys = [None if key == "none" else getattr(row, key) for row in rows]
    names = [(bool(side), value or f"row {code}") for code, (side, value) in enumerate(zip(window, keys, strict=True))]
    code = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([code[name] for name in names], dtype=np.int64)


def _figures(values: Floats) -> dict[str, float]:
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
    return {"mean": float(values.mean()), "p10": float(low), "median": float(middle), "p90": float(high)}


def _shares_of(grouped: descriptors.Groups, side: NDArray[np.bool_]) -> dict[str, float]:
    counts = np.bincount(grouped.codes[side], minlength=len(grouped.names))
    return {name: float(count) / max(int(side.sum()), 1) for name, count in zip(grouped.names, counts, strict=True)}


def compare(monitor: DriftMonitor, reference: DriftSample, window: DriftSample, embed: Embed) -> AnalysisFindings:
    """Return what differs between the reference and the window, with the monitor's settings."""
    return DriftAnalysis(monitor, reference, window, embed).run()
