"""Reading the attributes of one span by the rules of all dialects at once."""

from collections.abc import Callable
from typing import Any

from tidemill.traces.dialects import logfire, mlflow, openinference, otel, traceloop, vercel
from tidemill.traces.dialects.messages import unflattened
from tidemill.traces.dialects.rules import Dialect, Rule, Rules

RULES: Rules = otel.RULES | openinference.RULES | traceloop.RULES | logfire.RULES | mlflow.RULES | vercel.RULES
"""No name means two things: a test keeps the dialects' names apart."""

_Flat = tuple[str, Dialect, Callable[[list[Any]], Any]]


def _openinference(name: str) -> Callable[[list[Any]], Any]:
    return lambda rows: openinference.group(name, rows)


_FLAT: dict[str, _Flat] = {
    f"{name}.": (field, Dialect.openinference, _openinference(name)) for name, field in openinference.GROUPS.items()
} | {f"{name}.": (field, Dialect.traceloop, traceloop.group) for name, field in traceloop.GROUPS.items()}
_FLAT_STARTS = tuple(_FLAT)

_FLAT_RANK = {Dialect.openinference: 1, Dialect.traceloop: 3}


class Reading:
    """What the attributes of a span say."""

    __slots__ = ("contents", "dialect", "flat", "found", "rest", "winners")

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        """Fields and their values."""
        self.rest: dict[str, Any] = {}
        """Attributes that no field stands for in full."""
        self.dialect: Dialect | None = None
        self.winners: dict[str, tuple[int, str]] = {}
        self.contents: dict[str, list[tuple[int, str, Rule, Any]]] = {}
        self.flat: dict[str, list[tuple[str, Any]]] = {}

    def take(self, attributes: dict[str, Any]) -> None:
        """Read attributes; what was said is only gathered, see `settle`."""
        # Spelt out rather than split up: this runs for every attribute that comes in.
        rules, rest, found, winners = RULES, self.rest, self.found, self.winners
        highest = self.dialect or 0
        for key, value in attributes.items():
            rule = rules.get(key)
            if rule is None:
                if key.startswith(_FLAT_STARTS):
                    self._gather(key, value)
                else:
                    rest[key] = value
                continue
            field, rank, read, dialect, content = rule
            if dialect is not None and dialect > highest:
                highest = dialect
            if not field:
                self._several(key, rule, value)
            elif content:
                self.contents.setdefault(field, []).append((rank, key, rule, value))
            else:
                rest[key] = value
                made = read(value)
                if made is not None and (field not in winners or rank < winners[field][0]):
                    found[field] = made
                    winners[field] = (rank, key)
        if highest and (self.dialect is None or highest > self.dialect):
            self.dialect = Dialect(highest)

    def set(self, field: str, value: Any, rank: int, key: str) -> None:
        """Fill a field, unless a better attribute has filled it."""
        if value is None:
            return
        before = self.winners.get(field)
        if before is None or rank < before[0]:
            self.found[field] = value
            self.winners[field] = (rank, key)

    def settle(self) -> None:
        """Read what was said: for each field the best attribute that can be read; one that cannot be stays as it is."""
        for start, pairs in self.flat.items():
            field, dialect, read = _FLAT[start]
            self.set(field, read(unflattened(pairs)) or None, _FLAT_RANK[dialect], start)
        for field, candidates in self.contents.items():
            if len(candidates) > 1:
                candidates.sort(key=_rank)
            for rank, key, rule, value in candidates:
                before = self.winners.get(field)
                if before is not None and before[0] <= rank:
                    break
                self.set(field, rule.read(value), rank, key)
                if field not in self.found:
                    self.rest[key] = value

    def said_whole(self, field: str) -> Any:
        """The first attribute as it came that was gathered for a field, whether it won or not."""
        return next((value for _, _, _, value in self.contents.get(field, ())), None)

    def drop_told(self, fields: dict[str, Any]) -> None:
        """Leave out the attributes whose value stands in a field just as it was sent."""
        for field, value in fields.items():
            winner = self.winners.get(field)
            if winner is not None and self.rest.get(winner[1]) == value:
                del self.rest[winner[1]]

    def _several(self, key: str, rule: Rule, value: Any) -> None:
        parts = rule.read(value)
        if not rule.content or not parts:
            self.rest[key] = value
        for field, part in parts.items():
            self.set(field, part, rule.rank, key)

    def _gather(self, key: str, value: Any) -> None:
        for start in _FLAT_STARTS:
            if key.startswith(start):
                self.flat.setdefault(start, []).append((key[len(start) :], value))
                dialect = _FLAT[start][1]
                if self.dialect is None or dialect > self.dialect:
                    self.dialect = dialect
                return


def _rank(candidate: tuple[int, str, Rule, Any]) -> int:
    return candidate[0]
