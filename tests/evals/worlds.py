"""Simulated worlds, as the tests of error rates use them."""

from dataclasses import replace

import numpy as np

from tidemill.stats.simulation import GradedScenario, PassFailScenario

World = PassFailScenario | GradedScenario


def clusters_of(world: World) -> np.ndarray:
    """The cluster of every item."""
    return np.repeat(np.arange(len(world.sizes)), world.sizes)


def with_effect(world: World, delta: float) -> World:
    """The same world with a true difference; two systems that differ by delta disagree on at least delta."""
    if isinstance(world, PassFailScenario):
        return replace(world, delta=delta, discordance=max(world.discordance, abs(delta)))
    return replace(world, delta=delta)
