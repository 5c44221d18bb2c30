"""Splits never leak, keep label shares, leave nothing empty, and depend on the seed alone."""

import random
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tidemill.data import split, twins
from tidemill.data.groups import DisjointSet, MinHashIndex, bands_for
from tidemill.data.leakage import find_leaks_of_texts, find_uncleaned_leaks
from tidemill.data.shingles import digests, jaccard, mix, shingle
from tidemill.data.twins import TwinIndex
from tidemill.data.types import SplitClassEmpty, SplitSpec

RATIOS = {"train": 0.8, "validation": 0.1, "test": 0.1}


def digests_of(count: int) -> np.ndarray:
    return mix(np.arange(1, count + 1, dtype=np.uint64))


worlds = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), min_size=1, max_size=200)


@given(worlds, st.integers(0, 2**32), st.booleans())
def test_no_cluster_is_in_two_splits(rows: list[tuple[int, int]], seed: int, stratify: bool) -> None:
    clusters = np.array([cluster for cluster, _ in rows])
    labels = np.array([label for _, label in rows])
    spec = SplitSpec(ratios=RATIOS, seed=seed, stratify=stratify)
    places = split.assign(spec, clusters=clusters, digests=digests_of(len(rows)), labels=labels)
    assert ((places >= 0) & (places < 3)).all()
    for cluster in set(clusters.tolist()):
        assert len(set(places[clusters == cluster].tolist())) == 1


@given(worlds, st.integers(0, 2**32), st.randoms(use_true_random=False))
def test_row_order_does_not_matter(rows: list[tuple[int, int]], seed: int, random) -> None:
    clusters = np.array([cluster for cluster, _ in rows])
    labels = np.array([label for _, label in rows])
    identity = digests_of(len(rows))
    spec = SplitSpec(ratios=RATIOS, seed=seed)
    places = split.assign(spec, clusters=clusters, digests=identity, labels=labels)
    order = list(range(len(rows)))
    random.shuffle(order)
    shuffled = split.assign(spec, clusters=clusters[order], digests=identity[order], labels=labels[order])
    assert (shuffled == places[order]).all()


@given(st.integers(3, 400), st.integers(1, 5), st.integers(0, 1000))
def test_single_rows_are_divided_to_measure_and_every_class_is_everywhere(count: int, classes: int, seed: int) -> None:
    labels = np.repeat(np.arange(classes), count)
    rows = np.arange(len(labels))
    spec = SplitSpec(ratios=RATIOS, seed=seed)
    places = split.assign(spec, clusters=rows, digests=digests_of(len(rows)), labels=labels)
    for label in range(classes):
        got = np.bincount(places[labels == label], minlength=3)
        assert (got >= 1).all()
        assert (abs(got - np.array([0.8, 0.1, 0.1]) * count) <= 2).all()
    split.check(spec, places, labels, [str(label) for label in range(classes)])


@given(st.lists(st.integers(1, 50), min_size=3, max_size=12))
def test_three_clusters_are_enough_for_three_splits(sizes: list[int]) -> None:
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    places = split.assign(SplitSpec(ratios=RATIOS), clusters=clusters, digests=digests_of(len(clusters)))
    assert set(places.tolist()) == {0, 1, 2}


def test_a_class_with_too_few_clusters_is_refused_unless_accepted() -> None:
    labels = np.array([0] * 20 + [1] * 2)
    rows = np.arange(22)
    spec = SplitSpec(ratios=RATIOS)
    places = split.assign(spec, clusters=rows, digests=digests_of(22), labels=labels)
    with pytest.raises(SplitClassEmpty, match="'rare'"):
        split.check(spec, places, labels, ["common", "rare"])
    split.check(spec.model_copy(update={"allow_empty_classes": True}), places, labels, ["common", "rare"])
    assert (places[labels == 1] >= 0).all()


@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 20)), min_size=1, max_size=100))
def test_by_time_the_past_is_trained_on_and_the_future_tested(rows: list[tuple[int, int]]) -> None:
    times = np.array([time for time, _ in rows])
    clusters = np.array([cluster for _, cluster in rows])
    spec = SplitSpec(ratios={"train": 0.7, "test": 0.3}, by="time")
    places = split.assign(spec, clusters=clusters, digests=digests_of(len(rows)), times=times)
    train, test = places == 0, places == 1
    if train.any() and test.any():
        assert times[train].max() < times[test].min()
    assert not set(clusters[train].tolist()) & set(clusters[test].tolist())


def test_by_time_with_boundaries() -> None:
    moments = [datetime(2026, month, 1, tzinfo=UTC) for month in (1, 2, 3, 4)]
    times = np.array([round(moment.timestamp() * 1e6) for moment in moments])
    spec = SplitSpec(ratios={"train": 0.5, "test": 0.5}, by="time", boundaries=[datetime(2026, 3, 1, tzinfo=UTC)])
    places = split.assign(spec, clusters=np.array([0, 1, 2, 0]), digests=digests_of(4), times=times)
    assert places.tolist() == [0, 0, 1, split.UNASSIGNED]  # the last belongs to a cluster that was trained on


@pytest.mark.parametrize(
    "wrong",
    [
        {"ratios": {}},
        {"ratios": {"train": 0.8, "test": 0.3}},
        {"ratios": {"train": 1.5, "test": -0.5}},
        {"ratios": {"train": float("nan"), "test": 0.5}},
        {"ratios": {"a": 0.5, "b": 0.5}, "boundaries": ["2026-01-01T00:00:00Z"]},
        {"ratios": {"a": 0.5, "b": 0.5}, "by": "time", "boundaries": []},
    ],
)
def test_a_split_that_makes_no_sense_is_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        SplitSpec.model_validate(wrong)


def _naive_shingles(text: str, size: int) -> set[str]:
    words = "".join(char if ord(char) >= 128 or char.isalnum() else " " for char in text.lower())
    words = " ".join(part for part in words.split(" ") if part)
    return {words[i : i + size] for i in range(len(words) - size + 1)} if len(words) >= size else {words or text}


@given(st.lists(st.text(max_size=40), min_size=1, max_size=6), st.integers(2, 7))
def test_shingles_are_those_of_the_plain_definition(texts: list[str], size: int) -> None:
    shingles = shingle(texts, size)
    plain = [_naive_shingles(text, size) for text in texts]
    assert [len(shingles.of(place)) for place in range(len(texts))] == list(map(len, plain))
    for left in range(len(texts)):
        for right in range(left):
            both, either = plain[left] & plain[right], plain[left] | plain[right]
            assert jaccard(shingles.of(left), shingles.of(right)) == pytest.approx(len(both) / len(either))


def _near(texts: list[str], folder: Path, threshold: float = 0.8) -> DisjointSet:
    index = MinHashIndex(folder, threshold=threshold, ngram=5, text_of=texts.__getitem__)
    index.add(texts)
    sets = DisjointSet(len(texts))
    for pair in index.pairs(sets):
        assert pair.similarity >= threshold
    return sets


def test_planted_near_duplicates_are_found_and_others_left_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    words = ["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 6)) for _ in range(2000)]
    texts = [" ".join(rng.choice(words, 30)) for _ in range(300)]
    copies = []
    for text in texts[:100]:
        parts = text.split(" ")
        parts[int(rng.integers(30))] = "changed"
        copies.append(", ".join(parts).upper())
    roots = _near(texts + copies, tmp_path).roots()
    assert roots.tolist() == [*range(300), *range(100)]


def test_the_bands_find_a_pair_at_the_threshold() -> None:
    for threshold in (0.5, 0.7, 0.8, 0.9, 1.0):
        bands, rows = bands_for(threshold)
        assert bands * rows <= 128
        assert 1 - (1 - threshold**rows) ** bands >= 0.995


def test_thousands_of_equal_texts_stay_fast(tmp_path: Path) -> None:
    roots = _near(["the very same sentence again and again"] * 5000, tmp_path).roots()
    assert set(roots.tolist()) == {0}


@settings(max_examples=20)
@given(st.lists(st.integers(0, 40), min_size=10, max_size=80), st.integers(0, 5))
def test_leaks_are_counted_as_by_hand(values: list[int], seed: int) -> None:
    texts = [f"text number {value}" for value in values]
    cut = len(texts) * 8 // 10
    leaks = find_leaks_of_texts({"train": texts[:cut], "test": texts[cut:]})
    assert [(leak.split, leak.against) for leak in leaks] == [("test", "train")]
    assert leaks[0].exact == sum(text in set(texts[:cut]) for text in texts[cut:])
    unclean = find_uncleaned_leaks({"train": 0.5, "test": 0.5}, digests([text.encode() for text in texts]), seed)
    assert unclean[0].rows in (len(texts) // 2, (len(texts) + 1) // 2)
    assert 0 <= unclean[0].exact <= unclean[0].rows


def test_near_leaks_are_found(tmp_path: Path) -> None:
    train = ["How far is it from Denver to Aspen by car ?", "Who wrote the novel Moby Dick ?"]
    test = ["how far is it from Denver to Aspen, by car", "Where is the Orinoco ?"]
    leak = find_leaks_of_texts({"train": train, "test": test}, tmp_path)[0]
    assert (leak.exact, leak.near, leak.rows, leak.share) == (0, 1, 2, 0.5)


def log_lines(count: int) -> list[str]:
    """Lines of a log, of eight templates with other numbers, hosts, users and addresses."""
    draw = random.Random(1)
    templates = (
        "Host {host} disk usage {share}% on /var exceeds threshold",
        "User {user} failed login from 10.{small}.{share}.7 port {port}",
        "Service nginx restarted on {host} at {share}:{small}",
        "CPU temperature {share}C on {host}",
        "Connection from 192.168.{small}.{share} closed by {host}",
        "Backup job {port} on {host} finished in {share} s",
        "kernel: eth0 link down on {host}",
        "Printer PRN-{port} out of paper, floor {small}",
    )
    lines: dict[str, None] = {}
    while len(lines) < count:
        values = {"share": draw.randint(1, 99), "small": draw.randint(0, 255), "port": draw.randint(1000, 9999)}
        host = f"{draw.choice(('web', 'db', 'app', 'mail'))}-{draw.randint(1, 999):03d}.example.com"
        user = draw.choice(("jsmith", "akhan", "root", "mlee"))
        lines[draw.choice(templates).format(host=host, user=user, **values)] = None
    return list(lines)


def test_lines_of_one_template_are_counted_as_twins(tmp_path: Path) -> None:
    lines = log_lines(440)
    train, test = lines[:352], [*lines[352:], "An unrelated question about something else entirely"]
    index = TwinIndex(tmp_path, 0.8)
    index.add(train)
    index.add(test)
    counts, complete = index.find(np.repeat([0, 1], [len(train), len(test)]), 2)
    assert complete
    assert counts[1, 0].rows[len(train) :].tolist() == [True] * 88 + [False]
    assert counts[1, 0].example is not None
    assert find_leaks_of_texts({"train": train, "test": test}, tmp_path / "near")[0].near < 20, "char n-grams miss them"


@pytest.mark.parametrize(
    ("text", "like", "alike"),
    [
        ("Backup of host alpha has failed with error 7", "backup of host bravo has failed with error 12", True),
        ("主机12磁盘使用率91%超过阈值", "主机7磁盘使用率88%超过阈值", True),
        ("Ошибка 5 при чтении диска", "Ошибка 77 при чтении диска", True),
        ("order 15", "order 16", False),
        ("12", "15", False),
        ("Who wrote Moby Dick ?", "Where is the Orinoco ?", False),
    ],
)
def test_what_is_a_twin(tmp_path: Path, text: str, like: str, alike: bool) -> None:
    index = TwinIndex(tmp_path, 0.8)
    index.add([like, text])
    counts, _ = index.find(np.array([0, 1]), 2)
    assert counts[1, 0].rows.tolist() == [False, alike]


def test_the_sample_of_templates_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twins, "TEMPLATES", 50)
    index = TwinIndex(tmp_path, 0.8)
    texts = [
        f"{'abcdefghij'[n % 10] * 5} {'klmnopqrst'[n // 10 % 10] * 6} {'uvwxyz'[n // 100] * 7}" for n in range(600)
    ]
    index.add(texts)
    assert len(index._texts) <= 100
    counts, complete = index.find(np.arange(600) % 2, 2)
    assert not complete
    assert counts[1, 0].rows.sum() <= 50
