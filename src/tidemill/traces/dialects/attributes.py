"""Reads the attributes of one span by the rules of all dialects at once."""

from collections.abc import Callable
from typing import Any

from tidemill.traces.dialects import logfire, mlflow, openinference, otel, traceloop, vercel
from tidemill.traces.dialects.messages import unflatten
from tidemill.traces.dialects.rules import Dialect, Rule, Rules

RULES: Rules = otel.RULES | openinference.RULES | traceloop.RULES | logfire.RULES | mlflow.RULES | vercel.RULES
"""No attribute has two rules: a test keeps the dialects' names apart."""

_FlatGroup = tuple[str, Dialect, Callable[[list[Any]], Any]]


def _openinference(name: str) -> Callable[[list[Any]], Any]:
    return lambda rows: openinference.read_group(name, rows)


_FLAT: dict[str, _FlatGroup] = {
    f"{name}.": (field, Dialect.openinference, _openinference(name)) for name, field in openinference.GROUPS.items()
} | {f"{name}.": (field, Dialect.traceloop, traceloop.read_group) for name, field in traceloop.GROUPS.items()}
_FLAT_PREFIXES = tuple(_FLAT)

_FLAT_RANK = {Dialect.openinference: 1, Dialect.traceloop: 3}


class AttributeReader:
    """Turns the attributes of one span into fields. Of several attributes for one field the lowest rank wins."""

    __slots__ = ("candidates", "dialect", "fields", "flat", "rest", "winners")

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        """Field -> value."""
        self.rest: dict[str, Any] = {}
        """Attributes that stay, since no field holds all of them."""
        self.dialect: Dialect | None = None
        self.winners: dict[str, tuple[int, str]] = {}
        """Field -> rank and name of the attribute that filled it."""
        self.candidates: dict[str, list[tuple[int, str, Rule, Any]]] = {}
        """Field -> attributes with messages, which are read by `resolve`."""
        self.flat: dict[str, list[tuple[str, Any]]] = {}
        """Prefix -> the rest of the names, and the values, of a list that was written flat."""

    def read(self, attributes: dict[str, Any]) -> None:
        """Read attributes. Those with messages are only collected, see `resolve`."""
        # One long loop rather than several functions: this runs for every attribute that comes in.
        rules, rest, fields, winners = RULES, self.rest, self.fields, self.winners
        highest = self.dialect or 0
        for key, value in attributes.items():
            rule = rules.get(key)
            if rule is None:
                if key.startswith(_FLAT_PREFIXES):
                    self._collect_flat(key, value)
                else:
                    rest[key] = value
                continue
            field, rank, convert, dialect, content = rule
            if dialect is not None and dialect > highest:
                highest = dialect
            if not field:
                self._read_several(key, rule, value)
            elif content:
                self.candidates.setdefault(field, []).append((rank, key, rule, value))
            else:
                rest[key] = value
                converted = convert(value)
                if converted is not None and (field not in winners or rank < winners[field][0]):
                    fields[field] = converted
                    winners[field] = (rank, key)
        if highest and (self.dialect is None or highest > self.dialect):
            self.dialect = Dialect(highest)

    def set(self, field: str, value: Any, rank: int, key: str) -> None:
        """Fill a field, unless a better attribute has filled it."""
        if value is None:
            return
        winner = self.winners.get(field)
        if winner is None or rank < winner[0]:
            self.fields[field] = value
            self.winners[field] = (rank, key)

    def resolve(self) -> None:
        """Read the messages: for each field the best attribute that can be read; one that cannot be read stays."""
        for prefix, pairs in self.flat.items():
            field, dialect, convert = _FLAT[prefix]
            self.set(field, convert(unflatten(pairs)) or None, _FLAT_RANK[dialect], prefix)
        for field, candidates in self.candidates.items():
            if len(candidates) > 1:
                candidates.sort(key=_rank)
            for rank, key, rule, value in candidates:
                winner = self.winners.get(field)
                if winner is not None and winner[0] <= rank:
                    break
                self.set(field, rule.convert(value), rank, key)
                if field not in self.fields:
                    self.rest[key] = value

    def first_candidate(self, field: str) -> Any:
        """Return the first attribute collected for a field as it was sent, whether it filled the field or not."""
        return next((value for _, _, _, value in self.candidates.get(field, ())), None)

    def drop_duplicates(self, fields: dict[str, Any]) -> None:
        """Leave out the attributes whose value is in a field just as it was sent."""
        for field, value in fields.items():
            winner = self.winners.get(field)
            if winner is not None and self.rest.get(winner[1]) == value:
                del self.rest[winner[1]]

    def _read_several(self, key: str, rule: Rule, value: Any) -> None:
        parts = rule.convert(value)
        if not rule.content or not parts:
            self.rest[key] = value
        for field, part in parts.items():
            self.set(field, part, rule.rank, key)

    def _collect_flat(self, key: str, value: Any) -> None:
        for prefix in _FLAT_PREFIXES:
            if key.startswith(prefix):
                self.flat.setdefault(prefix, []).append((key[len(prefix) :], value))
                dialect = _FLAT[prefix][1]
                if self.dialect is None or dialect > self.dialect:
                    self.dialect = dialect
                return


def _rank(candidate: tuple[int, str, Rule, Any]) -> int:
    return candidate[0]
