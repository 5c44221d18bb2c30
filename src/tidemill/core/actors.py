"""Who acts: a person behind a key, or the system itself, and the roles that allow it."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["observer", "viewer", "annotator", "developer", "approver", "admin"]

ROLES: tuple[Role, ...] = ("observer", "viewer", "annotator", "developer", "approver", "admin")

_IMPLIED: dict[Role, frozenset[Role]] = {
    "observer": frozenset({"observer"}),
    "viewer": frozenset({"observer", "viewer"}),
    "annotator": frozenset({"observer", "viewer", "annotator"}),
    "developer": frozenset({"observer", "viewer", "annotator", "developer"}),
    "approver": frozenset({"observer", "viewer", "approver"}),
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
        """Return whether one of the actor's roles includes `role` (admin includes all)."""
        return any(role in _IMPLIED[own] for own in self.roles)


SYSTEM = Actor(id="system", name="system", roles=frozenset({"admin"}))
"""Tidemill acting for itself, for instance when the supervisor restarts a replica."""

OWNER = Actor(id="owner", name="owner", roles=frozenset({"admin"}))
"""Whoever can read the home folder of a local installation."""
