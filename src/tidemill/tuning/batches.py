"""Which rows go into which step: a pure function of the seed, so that a resumed run meets the same rows again."""

import math
import random
from collections.abc import Sequence
from typing import NamedTuple


class TrainingExample(NamedTuple):
    """A row as token ids, and for each whether it is in the loss (the loss mask)."""

    ids: list[int]
    loss_mask: list[bool]


def shared_prefix(examples: Sequence[TrainingExample]) -> int:
    """Return how many leading tokens all rows have in common, at most up to the one before the first in the loss.

    The system prompt is the same in every row; its keys and values need computing once a batch, not once a row.
    """
    if not examples:
        return 0
    first = min(e.loss_mask.index(True) for e in examples)
    return max(0, min(shared_tokens([e.ids for e in examples]), first - 1))


def shared_tokens(rows: Sequence[Sequence[int]]) -> int:
    """Return how many leading tokens all rows have in common, leaving every row at least one of its own."""
    low, high = min(map(list, rows)), max(map(list, rows))  # what these two share, all between them share
    same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return max(0, min(same, min(len(r) for r in rows) - 1))


def epoch_batches(lengths: Sequence[int], batch_size: int, seed: int, epoch: int, window: int = 32) -> list[list[int]]:
    """Return the batches of one epoch, as lists of row indices.

    Rows are shuffled, then grouped by length inside windows of `window` batches.

    Grouping keeps padding at a few percent; shuffling the batches again keeps the lengths from coming in order.
    """
    rng = random.Random(f"{seed}/{epoch}")
    order = list(range(len(lengths)))
    rng.shuffle(order)
    batches = []
    for start in range(0, len(order), batch_size * window):
        part = sorted(order[start : start + batch_size * window], key=lambda i: lengths[i])
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    rng.shuffle(batches)
    return batches


def micro_batches(examples: Sequence[TrainingExample], tokens: int, prefix: int = 0) -> list[list[TrainingExample]]:
    """Return the rows of a batch in parts of at most `tokens` tokens, padding included; a longer row stands alone.

    `prefix`: leading tokens that are computed once a part. A batch within the bound stays as it is. Otherwise rows of
    like length go together. The parts depend on the rows and the bound alone.
    """
    if _padded_tokens(examples, prefix) <= tokens:
        return [list(examples)]
    parts: list[list[TrainingExample]] = []
    for example in sorted(examples, key=lambda e: -len(e.ids)):
        if parts and _padded_tokens([*parts[-1], example], prefix) <= tokens:
            parts[-1].append(example)
        else:
            parts.append([example])
    return parts


def _padded_tokens(examples: Sequence[TrainingExample], prefix: int) -> int:
    return prefix + len(examples) * (max(len(e.ids) for e in examples) - prefix)


class BatchSchedule:
    """Which rows every step of a run trains on; the same for the same seed."""

    def __init__(self, lengths: Sequence[int], *, batch_size: int, accumulation: int, seed: int) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.accumulation = accumulation
        self.seed = seed
        batches = -(-len(lengths) // batch_size)
        self.steps_per_epoch = -(-batches // accumulation)
        self._epoch: tuple[int, list[list[int]]] | None = None

    def total_steps(self, epochs: float, max_steps: int | None) -> int:
        """Return the number of optimiser steps in the run."""
        return max_steps if max_steps is not None else max(1, round(self.steps_per_epoch * epochs))

    def step(self, number: int) -> list[list[int]]:
        """Return the batches of step `number` (from 1) as lists of row indices."""
        epoch, inside = divmod(number - 1, self.steps_per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, epoch_batches(self.lengths, self.batch_size, self.seed, epoch))
        return self._epoch[1][inside * self.accumulation : (inside + 1) * self.accumulation]


def learning_rate(step: int, total: int, peak: float, warmup_ratio: float, schedule: str) -> float:
    """Return the learning rate of step `step` (from 1): linear warm-up, then the schedule down to 0 after the last."""
    warmup = round(total * warmup_ratio)
    if step <= warmup:
        return peak * step / warmup
    share = (step - 1 - warmup) / max(1, total - warmup)
    if schedule == "constant":
        return peak
    if schedule == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * share))
    return peak * (1 - share)
