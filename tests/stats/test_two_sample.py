"""The statistics of two samples: permutations, correction and distances against their textbook forms."""

import numpy as np
import pytest
from scipy import stats

from tidemill.stats import classifier, importance, mmd, permutation, two_sample
from tidemill.stats.permutation import westfall_young

WIDTH = 16


def sides(reference: int, window: int) -> np.ndarray:
    return np.arange(reference + window) >= reference


def unit(values: np.ndarray) -> np.ndarray:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def test_a_labelling_keeps_the_number_of_rows_and_the_first_is_the_true_one() -> None:
    window = sides(50, 30)
    labels = permutation.draw_labellings(window, np.arange(80), 99, 1)
    assert labels.shape == (100, 80)
    assert (labels[0] == window).all()
    assert (labels.sum(axis=1) == 30).all()
    assert len({row.tobytes() for row in labels}) == 100


def test_rows_of_a_unit_change_sides_together() -> None:
    units = np.repeat(np.arange(20), 4)
    labels = permutation.draw_labellings(sides(48, 32), units, 50, 1)
    assert (labels.reshape(51, 20, 4).std(axis=2) == 0).all()
    assert (labels.sum(axis=1) == 32).all()


def test_units_of_uneven_size_make_windows_of_about_the_true_size() -> None:
    units = np.array([0] * 30 + [1] * 3 + list(range(2, 69)))
    rows = permutation.draw_labellings(sides(70, 30), units, 200, 1).sum(axis=1)
    assert abs(np.median(rows) - 30) <= 3


def test_the_area_is_that_of_mann_and_whitney_with_ties() -> None:
    rng = np.random.default_rng(0)
    predicted = rng.integers(0, 6, (3, 40)).astype(np.float32)
    labels = (rng.random((3, 40)) < 0.4).astype(np.float32)
    for row, label, area in zip(predicted, labels, classifier.roc_areas(predicted, labels), strict=True):
        inside, outside = row[label > 0], row[label == 0]
        expected = stats.mannwhitneyu(inside, outside).statistic / (len(inside) * len(outside))
        assert area == pytest.approx(expected)


def test_an_empty_side_has_no_area_no_discrepancy_and_no_gap() -> None:
    labels = np.zeros((1, 10), dtype=np.float32)
    values = np.arange(10.0)
    assert classifier.roc_areas(values[None].astype(np.float32), labels)[0] == 0.5
    assert mmd.mmd_squared(np.ones((10, 10), dtype=np.float32), labels)[0] == 0
    assert two_sample.ks_distances(values, labels)[0] == 0


def test_the_held_out_predictions_are_those_of_a_ridge_trained_on_the_other_folds() -> None:
    rng = np.random.default_rng(1)
    vectors = unit(rng.normal(size=(40, WIDTH)))
    labels = (rng.random((2, 40)) < 0.5).astype(np.float32)
    held_out = np.arange(40) % 4 == 0
    weights = classifier._held_out(vectors[held_out], vectors[~held_out])
    x, y = vectors[~held_out], labels[0][~held_out]
    centred = x - x.mean(axis=0)
    penalty = classifier.SHRINKAGE * np.trace(centred.T @ centred) / WIDTH + 1e-6
    slope = np.linalg.solve(centred.T @ centred + penalty * np.eye(WIDTH), centred.T @ (y - y.mean()))
    np.testing.assert_allclose(weights @ y, (vectors[held_out] - x.mean(axis=0)) @ slope, atol=1e-4)


def test_no_row_has_a_say_in_its_own_prediction_or_in_that_of_its_unit() -> None:
    rng = np.random.default_rng(2)
    units = np.repeat(np.arange(15), 2)
    matrix = classifier.prediction_matrix(unit(rng.normal(size=(30, WIDTH))), units, 0)
    same = units[:, None] == units[None]
    # What is left within a unit comes from centring, not from the row's own label.
    assert np.abs(matrix[same]).max() < 1e-7


def test_mmd_is_the_unbiased_estimate() -> None:
    rng = np.random.default_rng(3)
    vectors = unit(rng.normal(size=(30, WIDTH)))
    matrix = mmd.combine_kernels(mmd.gaussian_kernel(vectors))
    labels = sides(18, 12)[None].astype(np.float32)
    y, x = matrix[18:, 18:], matrix[:18, :18]
    expected = y.sum() / (12 * 11) + x.sum() / (18 * 17) - 2 * matrix[:18, 18:].mean()
    assert mmd.mmd_squared(matrix, labels)[0] == pytest.approx(expected, abs=1e-6)


def test_chance_moves_each_kernel_of_a_sum_as_much_as_the_other() -> None:
    rng = np.random.default_rng(10)
    narrow = (rng.normal(size=(60, 3)) * 40).astype(np.float32)
    wide = rng.normal(size=(60, WIDTH)).astype(np.float32)
    labels = permutation.draw_labellings(sides(36, 24), np.arange(60), 999, 0)
    one, other = mmd.combine_kernels(narrow @ narrow.T), mmd.combine_kernels(wide @ wide.T)
    both = mmd.combine_kernels(narrow @ narrow.T, wide @ wide.T)
    parts = [mmd.mmd_squared(matrix, labels) for matrix in (one, other, both)]
    shares = [np.corrcoef(parts[2], part)[0, 1] ** 2 for part in parts[:2]]
    assert shares == pytest.approx([0.5, 0.5], abs=0.12)


def test_a_kernel_has_spread_one_and_one_in_which_all_are_alike_is_left_out() -> None:
    rng = np.random.default_rng(11)
    wide = rng.normal(size=(50, WIDTH)).astype(np.float32)
    alone = mmd.combine_kernels(wide @ wide.T)
    spread = float(((wide - wide.mean(axis=0)) ** 2).sum(axis=1).mean())
    off = wide @ wide.T / spread
    np.fill_diagonal(off, 0)
    np.testing.assert_allclose(alone, off, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mmd.combine_kernels(wide @ wide.T, np.ones((50, 50), dtype=np.float32)), alone)
    assert (mmd.combine_kernels(np.zeros((4, 4), dtype=np.float32)) == 0).all()


def test_the_gap_is_that_of_kolmogorov_and_smirnov() -> None:
    rng = np.random.default_rng(4)
    values = rng.integers(0, 9, 60).astype(float)
    window = sides(35, 25)
    expected = stats.ks_2samp(values[window], values[~window]).statistic
    assert two_sample.ks_distances(values, window[None].astype(np.float32))[0] == pytest.approx(expected)


def test_shares_moved_is_half_the_sum_of_changes() -> None:
    codes = np.array([0] * 30 + [1] * 10 + [0] * 10 + [1] * 9 + [2])
    moved = two_sample.total_variations(codes, 3, sides(40, 20)[None].astype(np.float32))[0]
    assert moved == pytest.approx((0.25 + 0.2 + 0.05) / 2)


def test_the_correction_is_between_none_and_bonferroni() -> None:
    rng = np.random.default_rng(5)
    independent = rng.normal(size=(5, 1000))
    independent[0, 0] = 3.2
    own = (independent[0] >= independent[0, 0]).mean()
    corrected = westfall_young(independent, np.ones(5))
    assert own < corrected[0] <= 5 * own + 1e-9
    # Five times the same test costs nothing.
    same = np.repeat(independent[:1], 5, axis=0)
    np.testing.assert_allclose(westfall_young(same, np.ones(5)), own)


def test_a_heavy_test_pays_less_for_the_others_and_the_whole_keeps_alpha() -> None:
    rng = np.random.default_rng(12)
    weights = np.array([5.0, 1.0, 1.0, 1.0])
    statistics = rng.normal(size=(4, 1000))
    statistics[0, 0] = 2.4
    own = (statistics[0] >= statistics[0, 0]).mean()
    assert own <= westfall_young(statistics, weights)[0] < 2 * own < westfall_young(statistics, np.ones(4))[0]
    alarms = [westfall_young(rng.normal(size=(4, 200)), weights).min() <= 0.1 for _ in range(500)]
    assert np.mean(alarms) == pytest.approx(0.1, abs=0.035)


def test_the_correction_keeps_the_order_of_the_p_values() -> None:
    rng = np.random.default_rng(6)
    statistics = rng.normal(size=(6, 400))
    own = np.array([permutation.p_value(row) for row in statistics])
    corrected = westfall_young(statistics, np.ones(6))
    order = np.argsort(own)
    assert (np.diff(corrected[order]) >= 0).all()
    assert (corrected >= own - 1e-12).all()


def test_weights_bring_the_reference_to_the_mix_of_the_window() -> None:
    rng = np.random.default_rng(7)
    kind = np.concatenate([rng.random(400) < 0.2, rng.random(300) < 0.6])
    window = sides(400, 300)
    predicted = (kind + 0.1 * rng.normal(size=700)).astype(np.float32)
    ratio = importance.density_ratio(predicted, window)
    assert ratio.mean() == pytest.approx(1)
    scores = np.where(kind[:400], 0.4, 0.9)
    mean = importance.reweighted_mean(scores, ratio, np.arange(400), 0)
    assert mean.expected == pytest.approx(0.6 * 0.4 + 0.4 * 0.9, abs=0.04)
    assert mean.low < mean.expected - mean.before < mean.high < 0
    flat = importance.density_ratio(-predicted, window)
    assert (flat == 1).all()
