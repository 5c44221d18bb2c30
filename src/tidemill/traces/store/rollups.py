"""Sums by hour and by minute, updated in the transaction that stores the spans."""

from dataclasses import dataclass, field

import msgspec

from tidemill.traces.sketch import Sketch, bucket_of, merge

HOUR, MINUTE = 3600, 60

LEVELS = ("total", "model", "release", "prompt", "environment", "deployment", "key", "user", "session")
"""What sums are kept by, in this order; `total` has the key 0."""

LEVEL = {name: number for number, name in enumerate(LEVELS)}

BY_MINUTE = 6
"""The first so many levels are kept by minute too."""

SKETCHED = 8
"""The first so many levels keep latencies."""

Place = tuple[int, int, int, int]
"""Grain, level, begin in seconds, key."""


@dataclass(slots=True)
class Sums:
    """What one roll-up holds."""

    spans: int = 0
    traces: int = 0
    trace_errors: int = 0
    calls: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    first_us: int = 1 << 62
    last_us: int = 0
    sketch: Sketch = field(default_factory=dict)
    trace_sketch: Sketch = field(default_factory=dict)

    def add(self, other: "Sums") -> None:
        """Take in other sums."""
        self.spans += other.spans
        self.traces += other.traces
        self.trace_errors += other.trace_errors
        self.calls += other.calls
        self.errors += other.errors
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.cost += other.cost
        self.first_us = min(self.first_us, other.first_us)
        self.last_us = max(self.last_us, other.last_us)
        merge(self.sketch, other.sketch)
        merge(self.trace_sketch, other.trace_sketch)


class Counted(msgspec.Struct, frozen=True):
    """What a span adds."""

    start_us: int
    duration_us: int
    end_us: int
    root: bool
    call: bool
    error: bool
    input_tokens: int
    output_tokens: int
    cost: float


class Tally:
    """Gathers the spans of a batch; spans that agree in minute and in the keys with few values are added up once."""

    def __init__(self) -> None:
        self._fine: dict[tuple[int | None, ...], Sums] = {}
        self._coarse: dict[Place, Sums] = {}

    def add(self, span: Counted, keys: tuple[int | None, ...]) -> None:
        """Count a span. `keys` are those of the levels after `total`."""
        minute = span.start_us // 60_000_000
        number = bucket_of(span.duration_us) if span.root or span.call else 0
        fine = (minute, *keys[: BY_MINUTE - 1])
        sums = self._fine.get(fine)
        if sums is None:
            sums = self._fine[fine] = Sums()
        _count(sums, span, number, True)
        hour = minute // 60 * HOUR
        coarse = self._coarse
        for level, key in enumerate(keys[BY_MINUTE - 1 :], BY_MINUTE):
            if key is not None:
                place = (HOUR, level, hour, key)
                sums = coarse.get(place)
                if sums is None:
                    sums = coarse[place] = Sums()
                _count(sums, span, number, level < SKETCHED)

    def places(self) -> dict[Place, Sums]:
        """Return the sums at every place they belong to."""
        places = self._coarse
        for (minute, *keys), sums in self._fine.items():
            at = (minute or 0) * MINUTE
            for level, key in enumerate((0, *keys)):
                if key is not None:
                    _at(places, (HOUR, level, at - at % HOUR, key)).add(sums)
                    _at(places, (MINUTE, level, at, key)).add(sums)
        return places


def _at(places: dict[Place, Sums], place: Place) -> Sums:
    sums = places.get(place)
    if sums is None:
        sums = places[place] = Sums()
    return sums


def _count(sums: Sums, span: Counted, number: int, latencies: bool) -> None:
    sums.spans += 1
    if span.start_us < sums.first_us:
        sums.first_us = span.start_us
    if span.end_us > sums.last_us:
        sums.last_us = span.end_us
    if span.root:
        sums.traces += 1
        sums.trace_errors += span.error
        if latencies:
            sums.trace_sketch[number] = sums.trace_sketch.get(number, 0) + 1
    if span.call:
        sums.calls += 1
        sums.errors += span.error
        sums.input_tokens += span.input_tokens
        sums.output_tokens += span.output_tokens
        sums.cost += span.cost
        if latencies:
            sums.sketch[number] = sums.sketch.get(number, 0) + 1
