"""Latency in logarithmic buckets: two sketches added up are the sketch of both, and percentiles are within 2%.

Source: DDSketch (Masson, Rim, Lee, VLDB 2019), with gamma = 1.04 and one bucket for everything up to one microsecond.
"""

import math
from collections.abc import Iterable

import msgspec

GAMMA = 1.04
_LOG_GAMMA = math.log(GAMMA)
_MIDDLE = 2 / (GAMMA + 1)

Sketch = dict[int, int]
"""Bucket number -> count."""

_decoder = msgspec.msgpack.Decoder(dict[int, int])
_encoder = msgspec.msgpack.Encoder()


def bucket_of(microseconds: int) -> int:
    """Return the number of the bucket of a duration."""
    return math.ceil(math.log(microseconds) / _LOG_GAMMA) if microseconds > 1 else 0


def encode(sketch: Sketch) -> bytes | None:
    """Return the sketch as bytes; None for an empty one."""
    return _encoder.encode(sketch) if sketch else None


def decode(data: bytes | memoryview | None) -> Sketch:
    """Return the sketch that `encode` wrote; an empty one for None."""
    return _decoder.decode(data) if data else {}


def merge(into: Sketch, other: Sketch) -> Sketch:
    """Add `other` to `into`, and return it."""
    if not into:
        into.update(other)
        return into
    for number, count in other.items():
        into[number] = into.get(number, 0) + count
    return into


def percentiles(sketch: Sketch, shares: Iterable[float]) -> list[float | None]:
    """Return the durations in milliseconds below which these shares lie; None for an empty sketch. `shares` ascend."""
    total = sum(sketch.values())
    if not total:
        return [None for _ in shares]
    ordered = sorted(sketch.items())
    durations: list[float | None] = []
    at, count_below = 0, ordered[0][1]
    for share in shares:
        rank = share * (total - 1)
        while count_below <= rank and at + 1 < len(ordered):
            at += 1
            count_below += ordered[at][1]
        durations.append(round(GAMMA ** ordered[at][0] * _MIDDLE / 1000, 3))
    return durations
