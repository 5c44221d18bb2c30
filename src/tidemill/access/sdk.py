"""`client.access`: people and keys."""

from datetime import datetime

from tidemill.access.types import Key, KeyCreate, KeyCreated, Me, Person, PersonCreate, PersonUpdate
from tidemill.core.actors import Role
from tidemill.core.http import Http
from tidemill.core.wire import Page


class Access:
    """People, their roles and their keys."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def whoami(self) -> Me:
        """Return the owner of the key in use."""
        return self._http.get("/api/access/me", Me)

    def people(self) -> Page[Person]:
        """Return all people, ordered by name."""
        return self._http.get("/api/access/people", Page[Person])

    def create_person(
        self, name: str, roles: list[Role], *, display_name: str | None = None, email: str | None = None
    ) -> Person:
        """Create a person. Raises PersonExists."""
        body = PersonCreate(name=name, roles=roles, display_name=display_name, email=email)
        return self._http.post("/api/access/people", Person, body)

    def update_person(self, name: str, *, roles: list[Role] | None = None, disabled: bool | None = None) -> Person:
        """Change a person's roles, or disable them. What is None stays."""
        return self._http.patch(f"/api/access/people/{name}", Person, PersonUpdate(roles=roles, disabled=disabled))

    def keys(self, *, person: str | None = None, cursor: str | None = None, limit: int = 50) -> Page[Key]:
        """Return keys, newest first, without their secrets."""
        params = {"person": person, "cursor": cursor, "limit": limit}
        return self._http.get("/api/access/keys", Page[Key], params)

    def create_key(self, person: str, *, name: str = "", expires_at: datetime | None = None) -> KeyCreated:
        """Create a key. Store the secret: it is shown only now."""
        return self._http.post(
            "/api/access/keys", KeyCreated, KeyCreate(person=person, name=name, expires_at=expires_at)
        )

    def revoke_key(self, key_id: str) -> Key:
        """Revoke a key at once."""
        return Key.model_validate_json(self._http.send("DELETE", f"/api/access/keys/{key_id}").content)
