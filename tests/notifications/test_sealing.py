"""The secrets of notifiers: sealed in the database, also those that lay open there, and sent all the same."""

import base64
import json
import logging
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.notifications.receivers import Receiver, until
from tests.notifications.test_notifiers import burn, receiver, save, told
from tidemill.core.actors import OWNER
from tidemill.core.errors import SecretUnreadable
from tidemill.core.kernel import Kernel
from tidemill.core.settings import Settings
from tidemill.core.vault import FILE, Vault
from tidemill.notifications.channels import verify
from tidemill.notifications.outbox_worker import OutboxWorker
from tidemill.notifications.service import notifiers
from tidemill.notifications.store import outbox
from tidemill.notifications.store.outbox import NotifierRecord
from tidemill.server import process
from tidemill.server.app import build_kernel

__all__ = ["receiver"]

TOKEN = "t0ken-that-nobody-may-see"


def row(kernel: Kernel, name: str = "ops") -> NotifierRecord:
    with kernel.read(OWNER) as ctx:
        found = outbox.find_notifier(ctx.conn, name=name)
    assert found is not None
    return found


def lay_open(kernel: Kernel, url: str) -> None:
    """A notifier as an earlier version kept it."""
    save(kernel, url=url)
    with kernel.write(OWNER) as ctx:
        plain = {"url": url, "secret": TOKEN}
        ctx.conn.execute(outbox.notifiers.update().values(secrets=plain))


def files_of(home: Path) -> bytes:
    return b"".join(path.read_bytes() for path in home.glob("tidemill.db*"))


def test_a_secret_is_sealed_and_signs_what_is_sent(kernel: Kernel, receiver: Receiver) -> None:
    saved = save(kernel, url=receiver.url)
    kept = json.dumps(row(kernel).secrets)
    assert saved.secret is not None
    assert saved.secret not in kept
    assert receiver.url not in kept
    burn(kernel)
    worker = OutboxWorker(kernel)
    assert until(lambda: (worker.step(), told(kernel)[0].state == "sent")[1])
    headers, body = receiver.got[0]
    assert verify(saved.secret, headers["tidemill-signature"], body)


def test_what_lay_open_is_sealed_at_the_next_start_and_leaves_nothing_behind(home: Path) -> None:
    first = build_kernel(Settings(home=home))
    lay_open(first, "http://127.0.0.1:9/" + TOKEN)
    with first.read(OWNER) as ctx:
        assert notifiers.get(ctx, "ops").signed
    first.close()
    assert TOKEN.encode() in files_of(home)
    build_kernel(Settings(home=home)).close()
    assert TOKEN.encode() not in files_of(home)
    again = build_kernel(Settings(home=home))
    assert notifiers.open_secrets(again.get(Vault), row(again)) == {
        "url": "http://127.0.0.1:9/" + TOKEN,
        "secret": TOKEN,
    }
    again.close()


def test_a_new_key_seals_everything_again_and_the_old_one_can_go(home: Path) -> None:
    old, new = (base64.b64encode(secrets.token_bytes(32)).decode() for _ in range(2))
    first = build_kernel(Settings(home=home, secret_key=old))
    saved = save(first, url="http://127.0.0.1:9/")
    first.close()
    build_kernel(Settings(home=home, secret_key=f"{new},{old}")).close()
    last = build_kernel(Settings(home=home, secret_key=new))
    assert notifiers.open_secrets(last.get(Vault), row(last))["secret"] == saved.secret
    assert notifiers.seal_all(last) == []
    last.close()


def test_a_lost_key_is_told_and_the_message_waits_for_it(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = build_kernel(Settings(home=home))
    save(first, url="http://127.0.0.1:9/" + TOKEN, secret=TOKEN)
    first.close()
    (home / FILE).rename(home / "aside")
    kernel = build_kernel(Settings(home=home))
    burn(kernel)
    worker = OutboxWorker(kernel)
    with caplog.at_level(logging.DEBUG):
        assert until(lambda: (worker.step(), told(kernel)[0].attempts > 0)[1])
    waits = told(kernel)[0]
    assert waits.state == "waiting"
    assert "The secret of the notifier ops was sealed with the key" in str(waits.error)
    assert "start again" in str(waits.error)
    assert TOKEN not in caplog.text
    with pytest.raises(SecretUnreadable, match="notifier ops"):
        save(kernel, url="http://127.0.0.1:9/")
    assert save(kernel, url="http://127.0.0.1:9/", secret="another").secret is None, "set anew, it works again"
    assert notifiers.open_secrets(kernel.get(Vault), row(kernel))["secret"] == "another"
    kernel.close()


@pytest.fixture
def _levels() -> Iterator[None]:
    before = logging.getLogger("httpx").level
    yield
    logging.getLogger("httpx").setLevel(before)


@pytest.mark.usefixtures("_levels")
def test_a_server_logs_no_url(kernel: Kernel, receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    process._log_to_file(kernel.settings)
    save(kernel, kind="slack", url=receiver.url + "/" + TOKEN)
    burn(kernel)
    worker = OutboxWorker(kernel)
    with caplog.at_level(logging.DEBUG):
        assert until(lambda: (worker.step(), told(kernel)[0].state == "sent")[1])
    assert TOKEN not in caplog.text
