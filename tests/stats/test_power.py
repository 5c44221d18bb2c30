"""What a set of items can see."""

import numpy as np
import pytest
from scipy import special

from tidemill.stats.power import items_needed, items_to_settle, minimum_detectable_effect


def test_eighty_items_see_eleven_points() -> None:
    effect = minimum_detectable_effect(np.ones(80), discordance=0.16)
    assert effect == pytest.approx(0.115, abs=0.01)
    clustered = minimum_detectable_effect(np.full(20, 4.0), discordance=0.16, icc=0.5)
    assert clustered is not None
    assert clustered > effect
    assert minimum_detectable_effect(np.ones(80), sd=0.4) == pytest.approx(2.5 * 0.4 / np.sqrt(80), rel=0.02)
    assert minimum_detectable_effect(np.array([80.0]), sd=0.4) is None
    assert minimum_detectable_effect(np.ones(3), discordance=0.5) is None
    with pytest.raises(ValueError, match="either"):
        minimum_detectable_effect(np.ones(80))


def test_items_needed_and_the_detectable_effect_agree() -> None:
    needed = items_needed(0.05, np.ones(10), discordance=0.2)
    assert minimum_detectable_effect(np.ones(needed), discordance=0.2) == pytest.approx(0.05, rel=0.05)
    with pytest.raises(ValueError, match="gap"):
        items_to_settle(100, 0.1, 1.6, 0)


@pytest.mark.parametrize("discordance", [0.001, 0.02, 0.2, 1.0])
@pytest.mark.parametrize("items", [20, 80, 1000])
def test_the_detectable_effect_lies_where_the_score_bound_leaves_zero(items: int, discordance: float) -> None:
    effect = minimum_detectable_effect(np.ones(items), discordance=discordance)
    assert effect is not None
    reach = float(special.stdtrit(items - 1, 0.95) + special.stdtrit(items - 1, 0.8))
    square = (max(discordance, effect) * items + 2) / (items + 2)
    center = effect * items / (items + 2)
    assert center == pytest.approx(reach * np.sqrt((square - center**2) / (items + 2)))
