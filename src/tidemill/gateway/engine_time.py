"""Each request's share of an engine's time: requests that run at once share it equally."""

import time


class EngineTime:
    """Splits each engine's time among the requests inside it, exactly, with one addition for each coming and going.

    The clock of an engine runs at 1/n while n requests are inside: a request's share is what the clock went on
    meanwhile, and all shares together are the time in which the engine had work.
    """

    def __init__(self) -> None:
        self._engines: dict[str, _Clock] = {}

    def enter(self, engine: str) -> float:
        """Note that a request begins. Return the mark to pass to `leave`."""
        clock = self._engines.setdefault(engine, _Clock())
        mark = clock.now()
        clock.inside += 1
        return mark

    def leave(self, engine: str, mark: float) -> float:
        """Note that a request ends. Return its share in seconds."""
        clock = self._engines[engine]
        share = clock.now() - mark
        clock.inside -= 1
        if clock.inside == 0:
            del self._engines[engine]
        return share


class _Clock:
    __slots__ = ("_at", "_gone", "inside")

    def __init__(self) -> None:
        self.inside = 0
        self._gone = 0.0
        self._at = time.perf_counter()

    def now(self) -> float:
        """Return the clock's reading in seconds, brought up to date."""
        at = time.perf_counter()
        if self.inside:
            self._gone += (at - self._at) / self.inside
        self._at = at
        return self._gone
