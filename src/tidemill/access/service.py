"""Who may do what: people, keys, and the one check that every route passes."""

import hashlib
import hmac
import logging
import secrets
import threading
import time
from datetime import datetime, timedelta

from tidemill.access import store
from tidemill.access.types import (
    Key,
    KeyCreate,
    KeyCreated,
    KeyExpired,
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
from tidemill.core.errors import TidemillError, Unavailable
from tidemill.core.kernel import Context, Kernel
from tidemill.core.web import page
from tidemill.core.wire import Page, new_id, utc_now

log = logging.getLogger("tidemill.access")

CACHE_SECONDS = 1.0
"""How long another process may still accept a key after it was revoked; in this process it stops at once."""

OUTAGE_SECONDS = 300.0
"""How long a key that was good goes on being accepted while the database does not answer."""


def create_person(ctx: Context, body: PersonCreate) -> Person:
    """Add somebody. Raises PersonExists."""
    if store.person_by(ctx.conn, name=body.name) is not None:
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


def get_person(ctx: Context, name: str) -> Person:
    """One person. Raises PersonNotFound."""
    person = store.person_by(ctx.conn, name=name)
    if person is None:
        raise PersonNotFound(f"There is no person called {name!r}.", hint="`tidemill access people` lists them.")
    return person


def list_people(ctx: Context) -> Page[Person]:
    """Everybody, by name."""
    return Page(items=store.all_people(ctx.conn))


def update_person(ctx: Context, name: str, body: PersonUpdate) -> Person:
    """Change roles, or disable. Refuses to leave nobody who administers."""
    person = get_person(ctx, name)
    changed = person.model_copy(
        update={
            "roles": sorted(set(body.roles)) if body.roles is not None else person.roles,
            "disabled": body.disabled if body.disabled is not None else person.disabled,
        }
    )
    others = [p for p in store.all_people(ctx.conn) if p.id != person.id and not p.disabled and "admin" in p.roles]
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
    """A new key for a person. Its secret is in the reply and nowhere else."""
    person = get_person(ctx, body.person)
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
    """Keys, newest first, revoked ones too."""
    return page(store.keys(ctx.conn, person=person, before=cursor, limit=limit + 1), limit)


def revoke_key(ctx: Context, key_id: str) -> Key:
    """End a key at once. Revoking a revoked key changes nothing."""
    key = store.key_by_id(ctx.conn, key_id)
    if key is None:
        raise KeyNotFound(f"There is no key {key_id!r}.", hint="`tidemill access keys` lists them.")
    if key.revoked_at is not None:
        return key
    store.update_key(ctx.conn, key_id, revoked_at=ctx.now)
    events.emit(ctx, "key.revoked", key_id, {"person": key.person})
    return key.model_copy(update={"revoked_at": ctx.now})


def whoami(ctx: Context) -> Me:
    """The caller."""
    return Me(id=ctx.actor.id, name=ctx.actor.name, roles=sorted(ctx.actor.roles), key_id=ctx.actor.key_id)


def ensure_admin(kernel: Kernel) -> str | None:
    """On the first start, make the person `admin` and return the key's secret; later None.

    People whom the owner of the home added before that start do not count, unless one of them administers.
    """
    with kernel.write(SYSTEM) as ctx:
        if any("admin" in person.roles or person.name == "admin" for person in store.all_people(ctx.conn)):
            return None
        create_person(ctx, PersonCreate(name="admin", roles=["admin"]))
        return create_key(ctx, KeyCreate(person="admin", name="first start")).secret


def require(actor: Actor, role: Role) -> None:
    """The one check of a role. Raises RoleMissing."""
    if not actor.has(role):
        raise RoleMissing(
            f"This needs the role {role}; {actor.name} has {', '.join(sorted(actor.roles))}.",
            hint="Ask an admin for the role, or use a key of somebody who has it.",
        )


class KeyRing:
    """Finds whose a key is, remembering the answer for a moment so that a request need not ask the database."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._seen: dict[str, tuple[float, Actor, float]] = {}
        self._lock = threading.Lock()
        self._generation = 0

    def authenticate(self, token: str | None) -> Actor:
        """Who calls. Raises KeyMissing, KeyInvalid, KeyRevoked or KeyExpired."""
        if not token:
            raise KeyMissing(
                "No API key was given.", hint="Send `Authorization: Bearer <key>`, or set TIDEMILL_API_KEY."
            )
        owner = self.kernel.owner_token
        if owner is not None and hmac.compare_digest(token.encode(), owner.encode()):
            return OWNER
        digest = _digest(token)
        known = self._fresh(digest)
        if known is not None:
            return known
        try:
            return self._look_up(digest)
        except Unavailable:
            known = self._during_outage(digest)
            if known is None:
                raise
            return known

    def remembered(self, token: str) -> Actor | None:
        """Who calls, when that is known without asking the database."""
        owner = self.kernel.owner_token
        if owner is not None and hmac.compare_digest(token.encode(), owner.encode()):
            return OWNER
        return self._fresh(_digest(token))

    def _fresh(self, digest: str) -> Actor | None:
        seen = self._seen.get(digest)
        return seen[1] if seen is not None and seen[0] > time.monotonic() and seen[2] > time.time() else None

    def _during_outage(self, digest: str) -> Actor | None:
        """A key that was good a moment ago stays good while the database cannot be asked."""
        seen = self._seen.get(digest)
        still = seen is not None and seen[0] + OUTAGE_SECONDS > time.monotonic() and seen[2] > time.time()
        return seen[1] if seen is not None and still else None

    def forget(self) -> None:
        """Ask the database again for every key, because a key or a person has changed."""
        with self._lock:
            self._generation += 1
            self._seen.clear()

    def _look_up(self, digest: str) -> Actor:
        generation = self._generation
        with self.kernel.read(SYSTEM) as ctx:
            found = store.key_and_person(ctx.conn, digest)
        if found is None:
            raise KeyInvalid("The API key is not known here.", hint="Check the key, and that it is for this server.")
        key, person = found
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
        end = key.expires_at.timestamp() if key.expires_at else float("inf")
        with self._lock:
            # A revocation that came in while we read must not be overwritten by what we read before it.
            if generation == self._generation:
                if len(self._seen) > 10_000:
                    self._seen.clear()
                self._seen[digest] = (time.monotonic() + CACHE_SECONDS, actor, end)
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
