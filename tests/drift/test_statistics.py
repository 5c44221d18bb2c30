"""The comparison of two samples of texts: descriptors, groups, verdicts and their error rates."""

import numpy as np
import pytest

from tidemill.core.wire import utc_now
from tidemill.drift import clusters, descriptors, label_model, verdicts, word_features
from tidemill.drift.analysis import compare
from tidemill.drift.descriptors import Groups
from tidemill.drift.samples import DriftSample, SampleRow
from tidemill.drift.types import DatasetReference, DriftMonitor, DriftMonitorCreate
from tidemill.stats import permutation

WIDTH = 16


def sides(reference: int, window: int) -> np.ndarray:
    return np.arange(reference + window) >= reference


def unit(values: np.ndarray) -> np.ndarray:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def test_wording_keeps_the_words_that_many_texts_share_and_how_they_begin() -> None:
    assert word_features.extract_terms("Who wrote it? WHO") == {"who", "wrote", "it", "^who", "^who wrote"}
    assert word_features.extract_terms("水は何") == {"水", "は", "何", "^水", "^水 は"}
    assert word_features.extract_terms(" ?! ") == set()
    texts = [f"Who wrote book{n}" for n in range(150)] + [f"how many times{n}" for n in range(150)]
    made = word_features.build_features([*texts, ""])
    assert made.shape == (301, 8)  # who, wrote, how, many, and four beginnings
    np.testing.assert_allclose((made**2).sum(axis=1), [1.0] * 300 + [0.0], atol=1e-6)
    assert word_features.build_features(["", ""]).shape == (2, 0)


def test_a_label_model_learns_labels() -> None:
    rng = np.random.default_rng(8)
    kind = rng.integers(0, 3, 300)
    vectors = unit(np.eye(WIDTH)[kind] * 3 + rng.normal(size=(300, WIDTH)))
    names = ["a", "b", "c"]
    model = label_model.LabelModel(vectors[:200], [names[k] for k in kind[:200]])
    right = np.mean([found == names[k] for found, k in zip(model.predict(vectors[200:]), kind[200:], strict=True)])
    assert right > 0.85


def test_the_change_of_a_share_is_a_share_at_most() -> None:
    """12 users only: chance alone moves shares far, so that the interval would reach beyond what can be."""
    window = sides(120, 120)
    labels = permutation.draw_labellings(window, np.repeat(np.arange(12), 20), 199, 0)
    groups = Groups(codes=(window > 0).astype(np.int64), names=["old", "new"])
    clustering = clusters.Clustering(groups=groups, centroids=unit(np.eye(WIDTH)[:2]))
    shifts = {shift.group: shift for shift in clusters.find_shifts(clustering, labels, 0.5)}
    assert (shifts[0].low, shifts[1].high) == (-1, 1)
    assert shifts[1].low < shifts[1].change <= 1


def test_a_group_that_grew_is_named_with_its_words() -> None:
    rng = np.random.default_rng(9)
    kind = np.concatenate([rng.random(200) < 0.1, rng.random(150) < 0.5])
    vectors = unit(np.eye(WIDTH)[kind.astype(int)] * 6 + rng.normal(size=(350, WIDTH)) * 0.3)
    labels = permutation.draw_labellings(sides(200, 150), np.arange(350), 199, 0)
    found = clusters.cluster_vectors(vectors, 0)
    moved = [m for m in clusters.find_shifts(found, labels, 0.05) if m.change > 0]
    assert moved
    assert sum(m.change for m in moved) == pytest.approx(0.4, abs=0.15)
    texts = ["who wrote it" if k else "where is it" for k in kind]
    assert clusters.find_terms(texts, kind)[0] in ("who", "wrote")
    assert clusters.largest_user_share(["a", "a", "b", None], np.array([True] * 4)) == pytest.approx(2 / 3)
    assert clusters.largest_user_share([None], np.array([True])) is None


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
    assert descriptors.classify_refusal(text) == found


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
    assert descriptors.detect_format(text) == found


def test_labels_are_read_from_json_and_plain_answers() -> None:
    read = descriptors.label_reader("type", ["LOC", "HUM"])
    said = ['{"type": "LOC"}', '{"type": "hum"}', '{"type": "XYZ"}', '{"type": 3}', "[1]", "LOC", "no"]
    assert [read(s) for s in said] == ["LOC", "HUM", "other", "other", "none", "LOC", "none"]
    assert descriptors.label_reader(None, ["yes", "no"])(" Yes ") == "yes"
    any_label = descriptors.label_reader("n", None)
    answers = [f'{{"n": {value}}}' for value in ("5", "5.0", "true", "null", '""')]
    assert [any_label(answer) for answer in answers] == ["5", "5", "true", "none", "none"]
    declared = descriptors.label_reader("n", ["cafe\u0301", " Stra\u00dfe"])
    assert [declared(f'{{"n": "{label}"}}') for label in ("CAF\u00c9", "strasse", "tea")] == [
        "caf\u00e9", "Stra\u00dfe", "other",
    ]  # fmt: skip


def test_languages() -> None:
    assert descriptors.detect_language("Wo liegt die Hauptstadt von Peru und wie heisst sie?") == "de"
    assert descriptors.detect_language("Where is the capital of Peru and what is its name?") == "en"
    assert descriptors.detect_language("ok") == "short"


def test_rare_names_are_one_group() -> None:
    assert descriptors.group_values(["a"] * 40 + ["b"] * 59 + ["c"]).names == ["b", "a", descriptors.OTHER]


def measured(effects: np.ndarray, minimum: float, rows: tuple[int, int]) -> verdicts.PermutationResult:
    return verdicts.PermutationResult("inputs.length", "inputs", "ks", rows, effects, effects, minimum)


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

    def draw(self, count: int, mix: list[float]) -> list[SampleRow]:
        rows = []
        for topic in self.rng.choice(4, size=count, p=mix):
            text = f"topic{topic} number {len(self.vectors):06d} and then some more words"
            self.vectors[text] = unit((self.middles[topic] + 2 * self.rng.normal(size=WIDTH))[None])[0]
            rows.append(SampleRow(id=text, input=text))
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
    found = compare(monitor, DriftSample("reference", reference), DriftSample("window", window), words.embed)
    return verdicts.overall_verdict(found.tests, found.unanswered)


@pytest.mark.slow
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
