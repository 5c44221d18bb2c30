"""People, roles and keys, on SQLite and on PostgreSQL."""

import time
from datetime import timedelta

import pytest

from tidemill.access import service
from tidemill.access.types import (
    KeyCreate,
    KeyExpired,
    KeyExpiryPast,
    KeyInvalid,
    KeyMissing,
    KeyRevoked,
    LastAdmin,
    PersonCreate,
    PersonExists,
    PersonUpdate,
    RoleMissing,
)
from tidemill.client import Client
from tidemill.core.actors import OWNER, Actor
from tidemill.core.errors import StorageFull
from tidemill.core.kernel import Kernel
from tidemill.core.wire import utc_now


def person(kernel: Kernel, name: str = "ana", roles: tuple[str, ...] = ("developer",)) -> None:
    with kernel.write(OWNER) as ctx:
        service.create_person(ctx, PersonCreate.model_validate({"name": name, "roles": list(roles)}))


def key(kernel: Kernel, name: str = "ana", **more: object):
    with kernel.write(OWNER) as ctx:
        return service.create_key(ctx, KeyCreate.model_validate({"person": name, **more}))


def test_the_first_start_makes_one_admin_and_only_then(kernel: Kernel) -> None:
    secret = service.ensure_admin(kernel)
    assert secret is not None
    assert service.KeyAuthenticator(kernel).authenticate(secret).has("admin")
    assert service.ensure_admin(kernel) is None


def test_a_key_is_kept_as_a_hash_only(kernel: Kernel) -> None:
    person(kernel)
    created = key(kernel)
    with kernel.read(OWNER) as ctx:
        dump = str(ctx.conn.exec_driver_sql("SELECT * FROM api_keys").all())
    assert created.secret not in dump
    assert service.KeyAuthenticator(kernel).authenticate(created.secret).name == "ana"


def test_missing_unknown_expired_and_revoked_keys_say_so(kernel: Kernel) -> None:
    person(kernel)
    ring = service.KeyAuthenticator(kernel)
    with pytest.raises(KeyMissing):
        ring.authenticate(None)
    with pytest.raises(KeyInvalid):
        ring.authenticate("tm-nothing")
    expiry = utc_now() + timedelta(seconds=0.5)
    short = key(kernel, expires_at=expiry)
    while utc_now() <= expiry:
        time.sleep(0.05)
    with pytest.raises(KeyExpired):
        ring.authenticate(short.secret)
    made = key(kernel)
    assert ring.authenticate(made.secret).name == "ana"
    with kernel.write(OWNER) as ctx:
        ctx.once_committed(ring.clear_cache)
        service.revoke_key(ctx, made.key.id)
    with pytest.raises(KeyRevoked):
        ring.authenticate(made.secret)


def test_a_key_that_could_never_be_used_is_refused(kernel: Kernel) -> None:
    person(kernel)
    with pytest.raises(KeyExpiryPast, match="before it was created"):
        key(kernel, expires_at=utc_now() - timedelta(seconds=1))


def test_another_process_learns_of_a_revocation_within_the_cache_time(kernel: Kernel) -> None:
    person(kernel)
    here, there = service.KeyAuthenticator(kernel), service.KeyAuthenticator(kernel)
    made = key(kernel)
    there.authenticate(made.secret)
    with kernel.write(OWNER) as ctx:
        ctx.once_committed(here.clear_cache)
        service.revoke_key(ctx, made.key.id)
    time.sleep(service.CACHE_SECONDS + 0.05)
    with pytest.raises(KeyRevoked):
        there.authenticate(made.secret)


def test_a_disabled_person_is_out_at_once(kernel: Kernel) -> None:
    person(kernel)
    ring = service.KeyAuthenticator(kernel)
    made = key(kernel)
    with kernel.write(OWNER) as ctx:
        service.update_person(ctx, "ana", PersonUpdate(disabled=True))
    with pytest.raises(KeyRevoked):
        ring.authenticate(made.secret)


def test_the_last_admin_stays(kernel: Kernel) -> None:
    service.ensure_admin(kernel)
    for body in (PersonUpdate(roles=["viewer"]), PersonUpdate(disabled=True)):
        with pytest.raises(LastAdmin), kernel.write(OWNER) as ctx:
            service.update_person(ctx, "admin", body)
    person(kernel, "bo", ("admin",))
    with kernel.write(OWNER) as ctx:
        assert service.update_person(ctx, "admin", PersonUpdate(roles=["viewer"])).roles == ["viewer"]


def test_a_name_is_taken_once(kernel: Kernel) -> None:
    person(kernel)
    with pytest.raises(PersonExists):
        person(kernel)


@pytest.mark.parametrize(
    ("own", "asked", "allowed"),
    [
        ("viewer", "viewer", True),
        ("viewer", "developer", False),
        ("annotator", "viewer", True),
        ("developer", "annotator", True),
        ("developer", "approver", False),
        ("approver", "viewer", True),
        ("approver", "developer", False),
        ("admin", "approver", True),
    ],
)
def test_roles_include_what_they_should(own, asked, allowed) -> None:
    actor = Actor(id="x", name="x", roles=frozenset({own}))
    assert actor.has(asked) is allowed
    if not allowed:
        with pytest.raises(RoleMissing, match=asked):
            service.require(actor, asked)


def test_a_key_counts_for_more_than_owning_the_home(home) -> None:
    with Client() as owner:
        owner.access.create_person("vi", ["viewer"])
        secret = owner.access.create_key("vi").secret
    with Client(api_key=secret) as vi:
        assert vi.access.whoami().name == "vi"
        with pytest.raises(RoleMissing):
            vi.prompts.create("x", text="y")
    with pytest.raises(KeyInvalid), Client(api_key="tm-wrong") as nobody:
        nobody.access.whoami()


def test_people_added_before_the_first_start_do_not_keep_the_admin_key_back(kernel: Kernel) -> None:
    person(kernel, "dana")
    secret = service.ensure_admin(kernel)
    assert secret is not None
    assert service.KeyAuthenticator(kernel).authenticate(secret).has("admin")


def test_a_good_key_is_accepted_when_its_use_cannot_be_written_down(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    person(kernel)
    secret = key(kernel).secret

    def full(*_args: object) -> None:
        raise StorageFull("The database cannot write: database or disk is full.")

    monkeypatch.setattr(service.store, "touch_key", full)
    assert service.KeyAuthenticator(kernel).authenticate(secret).name == "ana"
