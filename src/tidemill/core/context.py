"""A unit of work: who acts, in which transaction, with what at hand."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa

from tidemill.core.wire import utc_now

if TYPE_CHECKING:
    from tidemill.core.kernel import Kernel

Role = Literal["viewer", "annotator", "developer", "approver", "admin"]

ROLES: tuple[Role, ...] = ("viewer", "annotator", "developer", "approver", "admin")

_IMPLIED: dict[Role, frozenset[Role]] = {
    "viewer": frozenset({"viewer"}),
    "annotator": frozenset({"viewer", "annotator"}),
    "developer": frozenset({"viewer", "annotator", "developer"}),
    "approver": frozenset({"viewer", "approver"}),
    "admin": frozenset(ROLES),
}


@dataclass(frozen=True)
class Actor:
    """Who does something: a person behind a key, or the system itself."""

    id: str
    name: str
    roles: frozenset[Role]
    key_id: str | None = None

    def has(self, role: Role) -> bool:
        """Whether one of the actor's roles includes `role` (every role includes viewer; admin includes all)."""
        return any(role in _IMPLIED[own] for own in self.roles)


SYSTEM = Actor(id="system", name="system", roles=frozenset({"admin"}))
"""Tidemill acting for itself, for instance when the supervisor restarts a replica."""

OWNER = Actor(id="owner", name="owner", roles=frozenset({"admin"}))
"""Whoever can read the home folder of a local installation."""


@dataclass(frozen=True)
class Context:
    """One unit of work. Everything done with it is committed together at the edge, or not at all."""

    conn: sa.Connection
    actor: Actor
    kernel: "Kernel"
    now: datetime = field(default_factory=utc_now)
    after_commit: list[Callable[[], None]] = field(default_factory=list)

    def once_committed(self, action: Callable[[], None]) -> None:
        """Do `action` right after the transaction is committed; never when it is rolled back."""
        self.after_commit.append(action)
