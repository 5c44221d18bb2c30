"""Who acts: a person behind a key, or the system itself, and the roles that allow it."""

from dataclasses import dataclass
from typing import Literal

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
        """Return whether one of the actor's roles includes `role` (every role includes viewer; admin includes all)."""
        return any(role in _IMPLIED[own] for own in self.roles)


SYSTEM = Actor(id="system", name="system", roles=frozenset({"admin"}))
"""Tidemill acting for itself, for instance when the supervisor restarts a replica."""

OWNER = Actor(id="owner", name="owner", roles=frozenset({"admin"}))
"""Whoever can read the home folder of a local installation."""
