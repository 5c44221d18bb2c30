"""Comparing two samples of rows: the tests, their verdicts, the groups that moved, and what old scores foretell.

Nothing here knows where rows come from or where reports go.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tidemill.drift import clusters, descriptors, wording
from tidemill.drift.rows import Row, Side
from tidemill.drift.topics import LabelModel
from tidemill.drift.types import (
    ClusterShift,
    DriftExample,
    DriftField,
    DriftMonitor,
    DriftTest,
    QualityShift,
)
from tidemill.drift.verdicts import Measured, Method, corrected, judge
from tidemill.stats import classifier, importance, mmd, two_sample
from tidemill.stats.permutation import Floats, Labellings, draw_labellings

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts to unit vectors (texts, width)."""

TEXT_FIELDS: tuple[DriftField, ...] = ("inputs", "outputs")
FEWEST = 20
"""Fewer rows on a side are not worth a permutation test, whatever a monitor asks for."""

HEAVY = 5.0
"""What a test weighs that sees a change of topics best; the others weigh 1. It is the same for all data."""

_HEAVIEST = ("mmd", "label")
MOST_GROUPS = 5
_EXAMPLES = 3
_EXAMPLE_CHARS = 200


@dataclass
class Findings:
    """All that a comparison found."""

    tests: list[DriftTest] = field(default_factory=list)
    clusters: list[ClusterShift] = field(default_factory=list)
    quality: list[QualityShift] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    open: bool = False
    """Whether tests of a whole field could not be made."""
    lacking: int = 0
    """Further rows of the window that these would need."""
    units: tuple[int, int] = (0, 0)


class Comparison:
    """One comparison under way."""

    def __init__(self, monitor: DriftMonitor, reference: Side, window: Side, embed: Embed) -> None:
        self.monitor = monitor
        self.embed = embed
        self.labelled = reference.labelled
        self.rows = [*reference.rows, *window.rows]
        self.window = np.arange(len(self.rows)) >= len(reference.rows)
        self.units = _units(self.rows, self.window, monitor)
        self.findings = Findings(notes=[*reference.notes, *window.notes])
        sides = [int(np.unique(self.units[side]).size) for side in (~self.window, self.window)]
        self.findings.units = (sides[0], sides[1])
        self.measured: list[Measured] = []

    def run(self) -> Findings:
        """Do all tests; verdicts come last, since they are corrected for each other."""
        if self._enough("rows", np.ones(len(self.rows), dtype=bool)):
            self.labels = draw_labellings(self.window, self.units, self.monitor.permutations, self.monitor.seed)
            for name in TEXT_FIELDS:
                if name in self.monitor.fields:
                    self._texts(name)
            if "outputs" in self.monitor.fields:
                self._labels()
            if "scores" in self.monitor.fields:
                self._scores()
        for found, p in zip(self.measured, corrected(self.measured), strict=True):
            self.findings.tests.append(judge(found, p, self.monitor.alpha))
        return self.findings

    def _enough(self, name: str, present: NDArray[np.bool_]) -> bool:
        """Whether both sides have the rows that the monitor asks for; if not, say what is lacking."""
        counts = [int((present & side).sum()) for side in (~self.window, self.window)]
        wanted = max(self.monitor.minimum_rows, FEWEST)
        if min(counts) >= wanted:
            return True
        self.findings.notes.append(
            f"{name}: {counts[0]} in the reference and {counts[1]} in the window; {wanted} each are needed."
        )
        if name in ("rows", *TEXT_FIELDS):
            self.findings.open = True
            self.findings.lacking = max(self.findings.lacking, wanted - counts[1])
        return False

    def _texts(self, name: DriftField) -> None:
        texts = [row.input if name == "inputs" else row.output for row in self.rows]
        present = np.array([text is not None for text in texts])
        if not present[~self.window].any() or not self._enough(name, present):
            return
        kept = [text for text in texts if text is not None]
        part = _Part(self, name, present)
        vectors = self.embed(kept)
        part.embedded(kept, vectors)
        if name == "inputs" and self.labelled is not None and self.labelled.enough:
            model = LabelModel(self.embed(self.labelled.texts), self.labelled.labels)
            part.names("label", model.predict(vectors))
        part.number("length", [descriptors.length(text) for text in kept])
        part.names("language", [descriptors.language(text) for text in kept])
        if name == "outputs":
            part.names("refusal", [descriptors.refusal(text) for text in kept])
            part.names("format", [descriptors.form(text) for text in kept])
            part.names(
                "finish", [row.finish or "unknown" for row, here in zip(self.rows, present, strict=True) if here]
            )

    def _labels(self) -> None:
        labels = [row.label for row in self.rows]
        present = np.array([label is not None for label in labels])
        if present.any() and self._enough("outputs.label", present):
            _Part(self, "outputs", present).names("label", [label for label in labels if label is not None])

    def _scores(self) -> None:
        for name in sorted({score for row in self.rows for score in row.scores}):
            present = np.array([name in row.scores for row in self.rows])
            if self._enough(f"scores.{name}", present):
                part = _Part(self, "scores", present)
                part.number(name, [row.scores[name] for row in self.rows if name in row.scores])


class _Part:
    """The tests of one field on the rows that have it."""

    def __init__(self, whole: Comparison, name: DriftField, present: NDArray[np.bool_]) -> None:
        self.whole = whole
        self.name = name
        self.places = np.flatnonzero(present)
        self.labels: Labellings = whole.labels if present.all() else np.ascontiguousarray(whole.labels[:, present])
        self.window = whole.window[present]
        self.units = whole.units[present]
        self.effects = whole.monitor.minimum_effects

    def _add(self, made: Measured) -> None:
        self.whole.measured.append(made)

    def _measured(self, kind: str, method: Method, statistics: Floats, effects: Floats, minimum: float) -> Measured:
        return Measured(
            name=f"{self.name}.{kind}",
            field=self.name,
            method=method,
            rows=(int((~self.window).sum()), int(self.window.sum())),
            statistics=statistics,
            effects=effects,
            minimum=minimum,
            weight=HEAVY if kind in _HEAVIEST and self.name != "scores" else 1.0,
        )

    def number(self, kind: str, values: Sequence[float]) -> None:
        """Compare the distribution of a number."""
        numbers = np.array(values, dtype=np.float64)
        if (numbers == numbers[0]).all():
            return
        gaps = two_sample.ks_distances(numbers, self.labels)
        made = self._measured(kind, "ks", gaps, gaps, self.effects.ks)
        made.figures = (_figures(numbers[~self.window]), _figures(numbers[self.window]))
        self._add(made)

    def names(self, kind: str, values: Sequence[str]) -> None:
        """Compare shares."""
        found = descriptors.groups(values)
        if len(found.names) > 1:
            self._shares(kind, found)

    def _shares(self, kind: str, found: descriptors.Groups) -> None:
        apart = two_sample.total_variations(found.codes, len(found.names), self.labels)
        made = self._measured(kind, "shares", apart, apart, self.effects.share)
        made.figures = (_shares_of(found, ~self.window), _shares_of(found, self.window))
        self._add(made)

    def embedded(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Compare the meaning: classifier, MMD, and which groups moved."""
        seed = self.whole.monitor.seed
        predicted = classifier.held_out_predictions(
            classifier.prediction_matrix(vectors, self.units, seed), self.labels
        )
        areas = classifier.roc_areas(predicted, self.labels)
        self._add(self._measured("classifier", "classifier", areas, areas, self.effects.auc))
        kernel = mmd.combine_kernels(mmd.gaussian_kernel(vectors), mmd.linear_kernel(wording.features(texts)))
        apart = mmd.mmd_squared(kernel, self.labels)
        self._add(self._measured("mmd", "mmd", apart, np.sqrt(np.maximum(apart, 0)), self.effects.mmd))
        self.whole.findings.clusters += self._moved(texts, vectors)
        if self.name == "inputs":
            self.whole.findings.quality += self._quality(predicted[0])

    def _moved(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> Iterator[ClusterShift]:
        found = clusters.grouping(vectors, self.whole.monitor.seed)
        rows = [self.whole.rows[place] for place in self.places]
        users = [row.user for row in rows]
        for moved in clusters.movements(found, self.labels, self.whole.monitor.alpha)[:MOST_GROUPS]:
            inside = found.groups.codes == moved.group
            recent = inside & self.window
            among = recent if recent.any() else inside
            near = clusters.nearest(texts, vectors, found.middles[moved.group], among, _EXAMPLES)
            yield ClusterShift(
                field=self.name,
                terms=clusters.terms(texts, inside),
                share_reference=moved.share_reference,
                share_window=moved.share_window,
                change=moved.change,
                low=moved.low,
                high=moved.high,
                examples=[
                    DriftExample(id=rows[place].id, text=descriptors.shown(texts[place], _EXAMPLE_CHARS))
                    for place in near
                ],
                largest_user_share=clusters.largest_share(users, recent),
            )

    def _quality(self, predicted: NDArray[np.float32]) -> Iterator[QualityShift]:
        ratio = importance.density_ratio(predicted, self.window)
        places = self.places[~self.window]
        rows = [self.whole.rows[place] for place in places]
        for name in sorted({score for row in rows for score in row.scores}):
            known = np.array([name in row.scores for row in rows])
            if known.sum() < FEWEST:
                continue
            scores = np.array([row.scores[name] for row in rows if name in row.scores])
            units = self.units[~self.window][known]
            found = importance.reweighted_mean(scores, ratio[known], units, self.whole.monitor.seed)
            yield QualityShift(
                score=name,
                rows=found.rows,
                effective_rows=found.effective_rows,
                before=found.before,
                expected=found.expected,
                change=found.expected - found.before,
                low=found.low,
                high=found.high,
            )


def _units(rows: Sequence[Row], window: NDArray[np.bool_], monitor: DriftMonitor) -> NDArray[np.int64]:
    """The independent groups of rows. What one user sends before and after counts as two groups."""
    key = monitor.cluster_by
    known = [None if key == "none" else getattr(row, key) for row in rows]
    names = [(bool(side), own or f"row {place}") for place, (side, own) in enumerate(zip(window, known, strict=True))]
    place = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([place[name] for name in names], dtype=np.int64)


def _figures(values: Floats) -> dict[str, float]:
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
    return {"mean": float(values.mean()), "p10": float(low), "median": float(middle), "p90": float(high)}


def _shares_of(found: descriptors.Groups, side: NDArray[np.bool_]) -> dict[str, float]:
    counts = np.bincount(found.codes[side], minlength=len(found.names))
    return {name: float(count) / max(int(side.sum()), 1) for name, count in zip(found.names, counts, strict=True)}


def compare(monitor: DriftMonitor, reference: Side, window: Side, embed: Embed) -> Findings:
    """Compare the window with the reference as the monitor says."""
    return Comparison(monitor, reference, window, embed).run()
