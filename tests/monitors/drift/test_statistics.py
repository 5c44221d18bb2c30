"""The statistics of drift: permutations, correction, statistics against textbook forms, and their error rates."""

import numpy as np
import pytest
from scipy import stats

from tidemill.core.wire import utc_now
from tidemill.monitors.drift import (
    classifier,
    clusters,
    descriptors,
    mmd,
    permutations,
    topics,
    verdicts,
    weighting,
    wording,
)
from tidemill.monitors.drift.analysis import compare
from tidemill.monitors.drift.correction import adjusted
from tidemill.monitors.drift.rows import Row, Side
from tidemill.monitors.drift.types import DatasetReference, DriftMonitor, DriftMonitorCreate

WIDTH = 16


def sides(reference: int, window: int) -> np.ndarray:
    return np.arange(reference + window) >= reference


def unit(values: np.ndarray) -> np.ndarray:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def test_a_labelling_keeps_the_number_of_rows_and_the_first_is_the_true_one() -> None:
    window = sides(50, 30)
    labels = permutations.labellings(window, np.arange(80), 99, 1)
    assert labels.shape == (100, 80)
    assert (labels[0] == window).all()
    assert (labels.sum(axis=1) == 30).all()
    assert len({row.tobytes() for row in labels}) == 100


def test_rows_of_a_unit_change_sides_together() -> None:
    units = np.repeat(np.arange(20), 4)
    labels = permutations.labellings(sides(48, 32), units, 50, 1)
    assert (labels.reshape(51, 20, 4).std(axis=2) == 0).all()
    assert (labels.sum(axis=1) == 32).all()


def test_units_of_uneven_size_make_windows_of_about_the_true_size() -> None:
    units = np.array([0] * 30 + [1] * 3 + list(range(2, 69)))
    rows = permutations.labellings(sides(70, 30), units, 200, 1).sum(axis=1)
    assert abs(np.median(rows) - 30) <= 3


def test_the_area_is_that_of_mann_and_whitney_with_ties() -> None:
    rng = np.random.default_rng(0)
    predicted = rng.integers(0, 6, (3, 40)).astype(np.float32)
    labels = (rng.random((3, 40)) < 0.4).astype(np.float32)
    for row, label, area in zip(predicted, labels, classifier.areas(predicted, labels), strict=True):
        inside, outside = row[label > 0], row[label == 0]
        expected = stats.mannwhitneyu(inside, outside).statistic / (len(inside) * len(outside))
        assert area == pytest.approx(expected)


def test_an_empty_side_has_no_area_no_discrepancy_and_no_gap() -> None:
    labels = np.zeros((1, 10), dtype=np.float32)
    values = np.arange(10.0)
    assert classifier.areas(values[None].astype(np.float32), labels)[0] == 0.5
    assert mmd.discrepancies(np.ones((10, 10), dtype=np.float32), labels)[0] == 0
    assert descriptors.gaps(values, labels)[0] == 0


def test_the_held_out_predictions_are_those_of_a_ridge_trained_on_the_other_folds() -> None:
    rng = np.random.default_rng(1)
    vectors = unit(rng.normal(size=(40, WIDTH)))
    labels = (rng.random((2, 40)) < 0.5).astype(np.float32)
    held = np.arange(40) % 4 == 0
    weights = classifier._held_out(vectors[held], vectors[~held])
    x, y = vectors[~held], labels[0][~held]
    centred = x - x.mean(axis=0)
    penalty = classifier.SHRINKAGE * np.trace(centred.T @ centred) / WIDTH + 1e-6
    slope = np.linalg.solve(centred.T @ centred + penalty * np.eye(WIDTH), centred.T @ (y - y.mean()))
    np.testing.assert_allclose(weights @ y, (vectors[held] - x.mean(axis=0)) @ slope, atol=1e-4)


def test_no_row_has_a_say_in_its_own_prediction_or_in_that_of_its_unit() -> None:
    rng = np.random.default_rng(2)
    units = np.repeat(np.arange(15), 2)
    matrix = classifier.smoother(unit(rng.normal(size=(30, WIDTH))), units, 0)
    same = units[:, None] == units[None]
    # What is left within a unit comes from centring, not from the row's own label.
    assert np.abs(matrix[same]).max() < 1e-7


def test_mmd_is_the_unbiased_estimate() -> None:
    rng = np.random.default_rng(3)
    vectors = unit(rng.normal(size=(30, WIDTH)))
    matrix = mmd.joint(mmd.meaning(vectors))
    labels = sides(18, 12)[None].astype(np.float32)
    y, x = matrix[18:, 18:], matrix[:18, :18]
    expected = y.sum() / (12 * 11) + x.sum() / (18 * 17) - 2 * matrix[:18, 18:].mean()
    assert mmd.discrepancies(matrix, labels)[0] == pytest.approx(expected, abs=1e-6)


def test_chance_moves_each_kernel_of_a_sum_as_much_as_the_other() -> None:
    rng = np.random.default_rng(10)
    narrow = (rng.normal(size=(60, 3)) * 40).astype(np.float32)
    wide = rng.normal(size=(60, WIDTH)).astype(np.float32)
    labels = permutations.labellings(sides(36, 24), np.arange(60), 999, 0)
    one, other = mmd.joint(narrow @ narrow.T), mmd.joint(wide @ wide.T)
    both = mmd.joint(narrow @ narrow.T, wide @ wide.T)
    parts = [mmd.discrepancies(matrix, labels) for matrix in (one, other, both)]
    shares = [np.corrcoef(parts[2], part)[0, 1] ** 2 for part in parts[:2]]
    assert shares == pytest.approx([0.5, 0.5], abs=0.12)


def test_a_kernel_has_spread_one_and_one_in_which_all_are_alike_is_left_out() -> None:
    rng = np.random.default_rng(11)
    wide = rng.normal(size=(50, WIDTH)).astype(np.float32)
    alone = mmd.joint(wide @ wide.T)
    spread = float(((wide - wide.mean(axis=0)) ** 2).sum(axis=1).mean())
    off = wide @ wide.T / spread
    np.fill_diagonal(off, 0)
    np.testing.assert_allclose(alone, off, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mmd.joint(wide @ wide.T, np.ones((50, 50), dtype=np.float32)), alone)
    assert (mmd.joint(np.zeros((4, 4), dtype=np.float32)) == 0).all()


def test_wording_keeps_the_words_that_many_texts_share_and_how_they_begin() -> None:
    assert wording.terms("Who wrote it? WHO") == {"who", "wrote", "it", "^who", "^who wrote"}
    assert wording.terms("水は何") == {"水", "は", "何", "^水", "^水 は"}
    assert wording.terms(" ?! ") == set()
    texts = [f"Who wrote book{n}" for n in range(150)] + [f"how many times{n}" for n in range(150)]
    made = wording.features([*texts, ""])
    assert made.shape == (301, 8)  # who, wrote, how, many, and four beginnings
    np.testing.assert_allclose((made**2).sum(axis=1), [1.0] * 300 + [0.0], atol=1e-6)
    assert wording.features(["", ""]).shape == (2, 0)


def test_the_gap_is_that_of_kolmogorov_and_smirnov() -> None:
    rng = np.random.default_rng(4)
    values = rng.integers(0, 9, 60).astype(float)
    window = sides(35, 25)
    expected = stats.ks_2samp(values[window], values[~window]).statistic
    assert descriptors.gaps(values, window[None].astype(np.float32))[0] == pytest.approx(expected)


def test_shares_moved_is_half_the_sum_of_changes() -> None:
    found = descriptors.groups(["a"] * 30 + ["b"] * 10 + ["a"] * 10 + ["b"] * 9 + ["c"])
    assert found.names == ["a", "b", descriptors.REST]
    moved = descriptors.variations(found, sides(40, 20)[None].astype(np.float32))[0]
    assert moved == pytest.approx((0.25 + 0.2 + 0.05) / 2)


def test_the_correction_is_between_none_and_bonferroni() -> None:
    rng = np.random.default_rng(5)
    independent = rng.normal(size=(5, 1000))
    independent[0, 0] = 3.2
    own = (independent[0] >= independent[0, 0]).mean()
    corrected = adjusted(independent, np.ones(5))
    assert own < corrected[0] <= 5 * own + 1e-9
    # Five times the same test costs nothing.
    same = np.repeat(independent[:1], 5, axis=0)
    np.testing.assert_allclose(adjusted(same, np.ones(5)), own)


def test_a_heavy_test_pays_less_for_the_others_and_the_whole_keeps_alpha() -> None:
    rng = np.random.default_rng(12)
    weights = np.array([5.0, 1.0, 1.0, 1.0])
    found = rng.normal(size=(4, 1000))
    found[0, 0] = 2.4
    own = (found[0] >= found[0, 0]).mean()
    assert own <= adjusted(found, weights)[0] < 2 * own < adjusted(found, np.ones(4))[0]
    alarms = [adjusted(rng.normal(size=(4, 200)), weights).min() <= 0.1 for _ in range(500)]
    assert np.mean(alarms) == pytest.approx(0.1, abs=0.035)


def test_the_correction_keeps_the_order_of_the_p_values() -> None:
    rng = np.random.default_rng(6)
    statistics = rng.normal(size=(6, 400))
    own = np.array([permutations.p_value(row) for row in statistics])
    corrected = adjusted(statistics, np.ones(6))
    order = np.argsort(own)
    assert (np.diff(corrected[order]) >= 0).all()
    assert (corrected >= own - 1e-12).all()


def test_weights_bring_the_reference_to_the_mix_of_the_window() -> None:
    rng = np.random.default_rng(7)
    kind = np.concatenate([rng.random(400) < 0.2, rng.random(300) < 0.6])
    window = sides(400, 300)
    predicted = (kind + 0.1 * rng.normal(size=700)).astype(np.float32)
    ratio = weighting.density_ratio(predicted, window)
    assert ratio.mean() == pytest.approx(1)
    scores = np.where(kind[:400], 0.4, 0.9)
    found = weighting.reweighted(scores, ratio, np.arange(400), 0)
    assert found.expected == pytest.approx(0.6 * 0.4 + 0.4 * 0.9, abs=0.04)
    assert found.low < found.expected - found.before < found.high < 0
    flat = weighting.density_ratio(-predicted, window)
    assert (flat == 1).all()


def test_a_label_model_learns_labels() -> None:
    rng = np.random.default_rng(8)
    kind = rng.integers(0, 3, 300)
    vectors = unit(np.eye(WIDTH)[kind] * 3 + rng.normal(size=(300, WIDTH)))
    names = ["a", "b", "c"]
    model = topics.LabelModel(vectors[:200], [names[k] for k in kind[:200]])
    right = np.mean([found == names[k] for found, k in zip(model.predict(vectors[200:]), kind[200:], strict=True)])
    assert right > 0.85


def test_a_group_that_grew_is_named_with_its_words() -> None:
    rng = np.random.default_rng(9)
    kind = np.concatenate([rng.random(200) < 0.1, rng.random(150) < 0.5])
    vectors = unit(np.eye(WIDTH)[kind.astype(int)] * 6 + rng.normal(size=(350, WIDTH)) * 0.3)
    labels = permutations.labellings(sides(200, 150), np.arange(350), 199, 0)
    found = clusters.grouping(vectors, 0)
    moved = [m for m in clusters.movements(found, labels, 0.05) if m.change > 0]
    assert moved
    assert sum(m.change for m in moved) == pytest.approx(0.4, abs=0.15)
    texts = ["who wrote it" if k else "where is it" for k in kind]
    assert clusters.terms(texts, kind)[0] in ("who", "wrote")
    assert clusters.largest_share(["a", "a", "b", None], np.array([True] * 4)) == pytest.approx(2 / 3)
    assert clusters.largest_share([None], np.array([True])) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("I'm sorry, but I can't help with that.", "refused"),
        ("I’m unable to answer.", "refused"),
        ("As an AI, I have no opinion.", "refused"),
        ("The capital is Lima.", "answered"),
        ("You cannot divide by zero.", "answered"),
        ("", "answered"),
    ],
)
def test_refusals_are_told_by_their_wording(text: str, found: str) -> None:
    assert descriptors.refusal(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1}', "json"),
        ('{"a": ', "broken json"),
        ("[" * 100_000, "broken json"),
        ("  ", "empty"),
        ("plain", "text"),
    ],
)
def test_the_form_of_an_answer(text: str, found: str) -> None:
    assert descriptors.form(text) == found


def test_labels_are_read_from_json_and_plain_answers() -> None:
    read = descriptors.label_reader("type", ["LOC", "HUM"])
    said = ['{"type": "LOC"}', '{"type": "hum"}', '{"type": "XYZ"}', '{"type": 3}', "[1]", "LOC", "no"]
    assert [read(s) for s in said] == ["LOC", "HUM", "other", "none", "none", "LOC", "none"]
    assert descriptors.label_reader(None, ["yes", "no"])(" Yes ") == "yes"


def test_languages() -> None:
    assert descriptors.language("Wo liegt die Hauptstadt von Peru und wie heisst sie?") == "de"
    assert descriptors.language("Where is the capital of Peru and what is its name?") == "en"
    assert descriptors.language("ok") == "short"


def measured(effects: np.ndarray, minimum: float, rows: tuple[int, int]) -> verdicts.Measured:
    return verdicts.Measured("inputs.length", "inputs", "ks", rows, effects, effects, minimum)


def test_a_verdict_needs_both_certainty_and_size() -> None:
    chance = np.linspace(0, 0.1, 199)
    assert verdicts.judge(measured(np.append(0.3, chance), 0.1, (500, 300)), 0.01, 0.05).verdict == "drift"
    assert verdicts.judge(measured(np.append(0.09, chance), 0.1, (500, 300)), 0.01, 0.05).verdict == "no_drift"
    assert verdicts.judge(measured(np.append(0.3, chance), 0.1, (500, 300)), 0.06, 0.05).verdict == "no_drift"


def test_a_blind_test_says_how_many_rows_would_open_its_eyes() -> None:
    chance = np.linspace(0, 0.32, 199)
    found = verdicts.judge(measured(np.append(0.2, chance), 0.1, (1000, 30)), 0.4, 0.05)
    assert found.verdict == "inconclusive"
    noise = found.noise
    assert found.rows_needed is not None
    later = (1 / (30 + found.rows_needed) + 1 / 1000) / (1 / 30 + 1 / 1000)
    assert noise * later**0.5 <= 0.2 + 1e-9
    small = verdicts.judge(measured(np.append(0.2, chance), 0.1, (20, 30)), 0.4, 0.05)
    assert small.rows_needed is None


class Words:
    """Made-up texts whose vectors lie around the middle of their topic."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.middles = np.random.default_rng(99).normal(size=(4, WIDTH))
        self.vectors: dict[str, np.ndarray] = {}

    def draw(self, count: int, mix: list[float]) -> list[Row]:
        rows = []
        for topic in self.rng.choice(4, size=count, p=mix):
            text = f"topic{topic} number {len(self.vectors):06d} and then some more words"
            self.vectors[text] = unit((self.middles[topic] + 2 * self.rng.normal(size=WIDTH))[None])[0]
            rows.append(Row(id=text, input=text))
        return rows

    def embed(self, texts: list[str]) -> np.ndarray:
        return np.stack([self.vectors[text] for text in texts])


def check(seed: int, mix: list[float]) -> str:
    body = DriftMonitorCreate(
        name="m",
        reference=DatasetReference(dataset="d"),
        fields=["inputs"],
        permutations=199,
        minimum_rows=50,
        seed=seed,
    )
    monitor = DriftMonitor(id="dm_1", created_by="t", created_at=utc_now(), **dict(body))
    words = Words(seed)
    reference, window = words.draw(200, [0.25] * 4), words.draw(120, mix)
    found = compare(monitor, Side("reference", reference), Side("window", window), words.embed)
    return verdicts.overall(found.tests, found.open)


def test_false_alarms_stay_at_alpha_and_shifts_are_found() -> None:
    """The short form of benchmarks/drift_errors.py: at 5%, more than 7 alarms in 60 windows come once in 100 times."""
    quiet = [check(seed, [0.25] * 4) for seed in range(60)]
    assert quiet.count("drift") <= 7
    shifted = [check(seed, [0.05, 0.2, 0.2, 0.55]) for seed in range(1000, 1020)]
    assert shifted.count("drift") >= 18


def test_an_equal_seed_gives_an_equal_answer() -> None:
    assert [check(seed, [0.1, 0.1, 0.1, 0.7]) for seed in (1, 2)] == [
        check(seed, [0.1, 0.1, 0.1, 0.7]) for seed in (1, 2)
    ]
