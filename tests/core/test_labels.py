"""Values as labels: one rule."""

from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pytest

from tidemill.core.labels import is_missing, label_text


@pytest.mark.parametrize("value", [None, float("nan"), np.float64("nan"), np.datetime64("NaT"), Decimal("NaN")])
def test_what_is_missing(value: object) -> None:
    assert is_missing(value)
    assert label_text(value) is None


@pytest.mark.parametrize("value", ["", "nan", 0, False, 0.0, [], {}, datetime(2026, 1, 1, tzinfo=UTC)])
def test_what_is_there(value: object) -> None:
    assert not is_missing(value)


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (" a ", "a"),
        ("  ", None),
        (True, "true"),
        (5, "5"),
        (5.0, "5"),
        (0.5, "0.5"),
        (-0.0, "0"),
        (1e300, str(int(1e300))),
        (float("inf"), "inf"),
        ([1], None),
        ({"a": 1}, None),
    ],
)
def test_values_as_labels(value: object, label: str | None) -> None:
    assert label_text(value) == label
