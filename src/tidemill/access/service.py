"""People, API keys, and the role check of every route."""

import hashlib
import hmac
import logging
import secrets
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill.access import store
from tidemill.access.types import (
    Key,
    KeyCreate,
    KeyCreated,
    KeyExpired,
    KeyExpiryPast,
    KeyInvalid,
    KeyMissing,
    KeyNotFound,
    KeyRevoked,
    LastAdmin,
    Me,
    Person,
    PersonCreate,
    PersonExists,
    PersonNotFound,
    PersonUpdate,
    RoleMissing,
)
from tidemill.core import events
from tidemill.core.actors import OWNER, SYSTEM, Actor, Role
from tidemill.core.db import advisory_lock
from tidemill.core.errors import TidemillError, Unavailable
from tidemill.core.kernel import Context, Kernel
from tidemill.core.web import page
from tidemill.core.wire import Page, new_id, utc_now

log = logging.getLogger("tidemill.access")

CACHE_SECONDS = 1.0
"""How long another process may still accept a key after it was revoked; in this process it stops at once."""

OUTAGE_SECONDS = 300.0
"""How long a valid key is still accepted while the database does not answer."""


def create_person(ctx: Context, body: PersonCreate) -> Person:
    """Create a person. Raises PersonExists."""
    _lock_people(ctx)
    if store.find_person(ctx.conn, name=body.name) is not None:
        raise PersonExists(f"There is already a person called {body.name!r}.", param="name")
    person = Person(
        id=new_id("per"),
        name=body.name,
        display_name=body.display_name,
        email=body.email,
        roles=sorted(set(body.roles)),
        disabled=False,
        created_at=ctx.now,
    )
    store.insert_person(ctx.conn, person)
    events.emit(ctx, "person.created", person.id, {"name": person.name, "roles": person.roles})
    return person


def _lock_people(ctx: Context) -> None:
    """Let no other transaction add or change people until this one ends: names are unique, and an admin remains."""
    advisory_lock(ctx.conn, "people")


def get_person(ctx: Context, name: str) -> Person:
    """Return one person by name. Raises PersonNotFound."""
    person = store.find_person(ctx.conn, name=name)
    if person is None:
        raise PersonNotFound(f"There is no person called {name!r}.", hint="`tidemill access people` lists them.")
    return person


def list_people(ctx: Context) -> Page[Person]:
    """Return all people, ordered by name."""
    return Page(items=store.list_people(ctx.conn))


def update_person(ctx: Context, name: str, body: PersonUpdate) -> Person:
    """Change a person's roles, or disable them. Raises PersonNotFound, LastAdmin."""
    _lock_people(ctx)
    person = get_person(ctx, name)
    changed = person.model_copy(
        update={
            "roles": sorted(set(body.roles)) if body.roles is not None else person.roles,
            "disabled": body.disabled if body.disabled is not None else person.disabled,
        }
    )
    others = [p for p in store.list_people(ctx.conn) if p.id != person.id and not p.disabled and "admin" in p.roles]
    if "admin" in person.roles and not others and ("admin" not in changed.roles or changed.disabled):
        raise LastAdmin(
            f"{name} is the last active admin.",
            hint="Give somebody else the admin role first.",
            param="roles",
        )
    store.update_person(ctx.conn, person.id, roles=changed.roles, disabled=changed.disabled)
    events.emit(ctx, "person.updated", person.id, {"roles": changed.roles, "disabled": changed.disabled})
    return changed


def create_key(ctx: Context, body: KeyCreate) -> KeyCreated:
    """Create a key for a person. Its secret is in the result and stored nowhere.

    Raises PersonNotFound, and KeyExpiryPast for one that could never be used.
    """
    person = get_person(ctx, body.person)
    if body.expires_at is not None and body.expires_at <= ctx.now:
        raise KeyExpiryPast(
            f"The key would have expired at {body.expires_at:%Y-%m-%d %H:%M} UTC, before it was created.",
            hint="Give a time to come, or none for a key that does not expire.",
            param="expires_at",
        )
    secret = "tm-" + secrets.token_urlsafe(32)
    key = Key(
        id=new_id("key"),
        person=person.name,
        name=body.name,
        hint=secret[:8],
        created_at=ctx.now,
        expires_at=body.expires_at,
        revoked_at=None,
        last_used_at=None,
    )
    store.insert_key(ctx.conn, key, person.id, _digest(secret))
    events.emit(ctx, "key.created", key.id, {"person": person.name, "name": key.name})
    return KeyCreated(key=key, secret=secret)


def list_keys(ctx: Context, *, person: str | None, cursor: str | None, limit: int) -> Page[Key]:
    """Return keys, newest first, including revoked ones."""
    return page(store.list_keys(ctx.conn, person=person, before=cursor, limit=limit + 1), limit)


def revoke_key(ctx: Context, key_id: str) -> Key:
    """Revoke a key, and return it. Revoking it again changes nothing. Raises KeyNotFound."""
    key = store.find_key(ctx.conn, key_id)
    if key is None:
        raise KeyNotFound(f"There is no key {key_id!r}.", hint="`tidemill access keys` lists them.")
    if key.revoked_at is not None:
        return key
    if not store.revoke_key(ctx.conn, key_id, ctx.now):
        return store.find_key(ctx.conn, key_id) or key
    events.emit(ctx, "key.revoked", key_id, {"person": key.person})
    return key.model_copy(update={"revoked_at": ctx.now})


def whoami(ctx: Context) -> Me:
    """Return the caller with their roles."""
    return Me(id=ctx.actor.id, name=ctx.actor.name, roles=sorted(ctx.actor.roles), key_id=ctx.actor.key_id)


def ensure_admin(kernel: Kernel) -> str | None:
    """Create the person `admin` on the first start, and return the secret of their key; later None.

    People whom the owner of the home added before that start do not count, unless one of them administers.
    """
    with kernel.write(SYSTEM) as ctx:
        if any("admin" in person.roles or person.name == "admin" for person in store.list_people(ctx.conn)):
            return None
        create_person(ctx, PersonCreate(name="admin", roles=["admin"]))
        return create_key(ctx, KeyCreate(person="admin", name="first start")).secret


def require(actor: Actor, role: Role) -> None:
    """Raise RoleMissing unless the actor has the role."""
    if not actor.has(role):
        raise RoleMissing(
            f"This needs the role {role}; {actor.name} has {', '.join(sorted(actor.roles))}.",
            hint="Ask an admin for the role, or use a key of somebody who has it.",
        )


@dataclass(frozen=True)
class _CachedActor:
    """The actor of a key, until when to believe it (monotonic), and when the key expires (Unix time)."""

    fresh_until: float
    actor: Actor
    expires_at: float


class KeyAuthenticator:
    """Maps API keys to actors, with a short cache, so that not every request queries the database."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._cache: dict[str, _CachedActor] = {}
        self._lock = threading.Lock()
        self._generation = 0

    def authenticate(self, token: str | None) -> Actor:
        """Return the actor whose key `token` is. May query the database.

        Raises KeyMissing, KeyInvalid, KeyRevoked, KeyExpired.
        """
        if not token:
            raise KeyMissing(
                "No API key was given.", hint="Send `Authorization: Bearer <key>`, or set TIDEMILL_API_KEY."
            )
        owner = self.kernel.owner_token
        if owner is not None and hmac.compare_digest(token.encode(), owner.encode()):
            return OWNER
        digest = _digest(token)
        actor = self._find_cached(digest)
        if actor is not None:
            return actor
        try:
            return self._load(digest)
        except Unavailable:
            actor = self._find_during_outage(digest)
            if actor is None:
                raise
            return actor

    def remembered(self, token: str) -> Actor | None:
        """Return the actor whose key `token` is if the cache has it, else None. Makes no query."""
        owner = self.kernel.owner_token
        if owner is not None and hmac.compare_digest(token.encode(), owner.encode()):
            return OWNER
        return self._find_cached(_digest(token))

    def _find_cached(self, digest: str) -> Actor | None:
        entry = self._cache.get(digest)
        if entry is None or entry.fresh_until <= time.monotonic() or entry.expires_at <= time.time():
            return None
        return entry.actor

    def _find_during_outage(self, digest: str) -> Actor | None:
        """Return the actor of a key that was valid within `OUTAGE_SECONDS`, for when the database does not answer."""
        entry = self._cache.get(digest)
        if entry is None or entry.expires_at <= time.time():
            return None
        return entry.actor if entry.fresh_until + OUTAGE_SECONDS > time.monotonic() else None

    def clear_cache(self) -> None:
        """Empty the cache, because a key or a person has changed."""
        with self._lock:
            self._generation += 1
            self._cache.clear()

    def _load(self, digest: str) -> Actor:
        generation = self._generation
        with self.kernel.read(SYSTEM) as ctx:
            key_and_person = store.find_key_and_person(ctx.conn, digest)
        if key_and_person is None:
            raise KeyInvalid("The API key is not known here.", hint="Check the key, and that it is for this server.")
        key, person = key_and_person
        now = utc_now()
        if key.revoked_at is not None or person.disabled:
            raise KeyRevoked(f"The key {key.hint}… has been revoked.", hint="Ask an admin for a new one.")
        if key.expires_at is not None and key.expires_at <= now:
            raise KeyExpired(
                f"The key {key.hint}… expired at {key.expires_at:%Y-%m-%d %H:%M} UTC.",
                hint="Ask an admin for a new one.",
            )
        if key.last_used_at is None or now - key.last_used_at > timedelta(minutes=1):
            self._touch(key, now)
        actor = Actor(id=person.id, name=person.name, roles=frozenset(person.roles), key_id=key.id)
        expires_at = key.expires_at.timestamp() if key.expires_at else float("inf")
        with self._lock:
            # A revocation that came in while we read must not be overwritten by what we read before it.
            if generation == self._generation:
                if len(self._cache) > 10_000:
                    self._cache.clear()
                self._cache[digest] = _CachedActor(time.monotonic() + CACHE_SECONDS, actor, expires_at)
        return actor

    def _touch(self, key: Key, now: datetime) -> None:
        # A good key is not refused because its last use cannot be written down, as on a full disk.
        try:
            with self.kernel.write(SYSTEM) as ctx:
                store.touch_key(ctx.conn, key.id, now)
        except TidemillError as error:
            log.warning("the last use of %s is not recorded: %s", key.id, error.message)


def _digest(secret: str) -> str:
    # The secret is 256 random bits, so one round of SHA-256 is enough: there is nothing to guess.
    return hashlib.sha256(secret.encode()).hexdigest()
