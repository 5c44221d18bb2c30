"""People, their roles and their keys."""

from pydantic import Field

from tidemill.core.actors import Role
from tidemill.core.errors import Conflict, Forbidden, Invalid, NotFound, Unauthorized
from tidemill.core.value_faults import EMAIL_FORM
from tidemill.core.wire import Body, Instant, Name, Value


class PersonNotFound(NotFound):
    """No person has this name."""

    code = "person_not_found"


class PersonExists(Conflict):
    """A person of this name exists already."""

    code = "person_exists"


class LastAdmin(Conflict):
    """The change would leave no active admin."""

    code = "last_admin"


class KeyNotFound(NotFound):
    """No key has this id."""

    code = "key_not_found"


class KeyExpiryPast(Invalid):
    """A new key would have expired already."""

    code = "key_expiry_past"


class KeyMissing(Unauthorized):
    """The request carries no key."""

    code = "key_missing"


class KeyInvalid(Unauthorized):
    """The key is unknown to this server."""

    code = "invalid_api_key"


class KeyRevoked(Unauthorized):
    """The key has been revoked."""

    code = "key_revoked"


class KeyExpired(Unauthorized):
    """The key has expired."""

    code = "key_expired"


class RoleMissing(Forbidden):
    """The caller's roles do not include the one that is needed."""

    code = "role_missing"


class PersonCreate(Body):
    """A new person."""

    name: Name
    display_name: str | None = Field(default=None, max_length=200, description="As people write it.")
    email: str | None = Field(default=None, max_length=320, pattern=EMAIL_FORM)
    roles: list[Role] = Field(min_length=1, description="Every role but observer includes viewer; admin includes all.")


class PersonUpdate(Body):
    """Changes to a person; what is left out stays."""

    roles: list[Role] | None = Field(default=None, min_length=1)
    disabled: bool | None = Field(default=None, description="A disabled person's keys stop working at once.")


class Person(Value):
    """A person with roles."""

    id: str
    name: str
    display_name: str | None
    email: str | None
    roles: list[Role]
    disabled: bool
    created_at: Instant


class KeyCreate(Body):
    """A new key for a person."""

    person: Name
    name: str = Field(default="", max_length=120, description="What the key is for.")
    expires_at: Instant | None = Field(default=None, description="Null: it does not expire.")


class Key(Value):
    """An API key without its secret."""

    id: str
    person: str
    name: str
    hint: str = Field(description="The first characters of the secret, to tell keys apart.")
    created_at: Instant
    expires_at: Instant | None
    revoked_at: Instant | None
    last_used_at: Instant | None = Field(description="To the minute.")


class KeyCreated(Value):
    """A new key with its secret, which is shown only here and not stored."""

    key: Key
    secret: str


class Me(Value):
    """The caller with their roles."""

    id: str
    name: str
    roles: list[Role]
    key_id: str | None
