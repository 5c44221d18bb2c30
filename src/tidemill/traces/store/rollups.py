"""Sums by hour and by minute, updated in the transaction that stores the spans."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from tidemill.traces.sketch import Sketch, bucket, merge

HOUR, MINUTE = 3600, 60

LEVELS = ("total", "model", "release", "prompt", "environment", "deployment", "key", "user", "session")
"""What sums are kept by, in this order; `total` has the key 0."""

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

    def add(self, other: "Sums", *, latencies: bool = True) -> None:
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
        if latencies:
            merge(self.sketch, other.sketch)
            merge(self.trace_sketch, other.trace_sketch)


@dataclass(frozen=True, slots=True)
class Counted:
    """What a span adds."""

    start_us: int
    duration_us: int
    root: bool
    call: bool
    error: bool
    input_tokens: int
    output_tokens: int
    cost: float


class Tally:
    """Gathers the spans of a batch; spans that agree in minute and keys are added up once."""

    def __init__(self) -> None:
        self._profiles: dict[tuple[int | None, ...], Sums] = {}

    def add(self, span: Counted, keys: tuple[int | None, ...]) -> None:
        """Count a span. `keys` are those of the levels after `total`."""
        profile = (span.start_us // 60_000_000, *keys)
        sums = self._profiles.get(profile)
        if sums is None:
            sums = self._profiles[profile] = Sums()
        end = span.start_us + span.duration_us
        sums.spans += 1
        sums.first_us = min(sums.first_us, span.start_us)
        sums.last_us = max(sums.last_us, end)
        if not (span.root or span.call):
            return
        number = bucket(span.duration_us)
        if span.root:
            sums.traces += 1
            sums.trace_errors += span.error
            sums.trace_sketch[number] = sums.trace_sketch.get(number, 0) + 1
        if span.call:
            sums.calls += 1
            sums.errors += span.error
            sums.input_tokens += span.input_tokens
            sums.output_tokens += span.output_tokens
            sums.cost += span.cost
            sums.sketch[number] = sums.sketch.get(number, 0) + 1

    def places(self) -> dict[Place, Sums]:
        """The sums at every place they belong to."""
        found: dict[Place, Sums] = {}
        for (minute, *keys), sums in self._profiles.items():
            at = (minute or 0) * 60
            for level, key in enumerate((0, *keys)):
                if key is None:
                    continue
                latencies = level < SKETCHED
                self._put(found, (HOUR, level, at - at % HOUR, key), sums, latencies)
                if level < BY_MINUTE:
                    self._put(found, (MINUTE, level, at, key), sums, latencies)
        return found

    def _put(self, found: dict[Place, Sums], place: Place, sums: Sums, latencies: bool) -> None:
        there = found.get(place)
        if there is None:
            there = found[place] = Sums()
        there.add(sums, latencies=latencies)


def total(parts: Iterable[Sums]) -> Sums:
    """All of them in one."""
    whole = Sums()
    for part in parts:
        whole.add(part)
    return whole
