"""Notifiers against real receivers: what they get, and what happens when they misbehave."""

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.notifications.receivers import Receiver, free_port, http_receiver, smtp_server, until
from tidemill.core import events
from tidemill.core.actors import OWNER
from tidemill.core.kernel import Kernel
from tidemill.core.vault import Vault
from tidemill.core.wire import utc_now
from tidemill.notifications import channels, outbox_worker
from tidemill.notifications.outbox_worker import OutboxWorker
from tidemill.notifications.service import alerts, deliveries, notifiers
from tidemill.notifications.store import outbox
from tidemill.notifications.types import (
    AlertCause,
    AlertNote,
    Delivery,
    DeliveryNotEnded,
    NotifierNotFound,
    NotifierPut,
    NotifierSaved,
)

BURN = AlertCause(
    kind="slo", name="answers", severity="page", title="answers: <!channel> burn & smoke", evidence={"x": 1}
)


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """SQLite alone: these tests are about receivers. `test_outbox.py` has the outbox on both."""
    return f"sqlite:///{tmp_path / 'home' / 'tidemill.db'}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with http_receiver() as made:
        yield made


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "STEP_TIMEOUT_S", 0.5)
    monkeypatch.setattr(channels, "INITIAL_BACKOFF_S", 0.05)
    monkeypatch.setattr(outbox_worker, "ATTEMPT_TIMEOUT_S", 1.0)


def save(kernel: Kernel, name: str = "ops", **spec: object) -> NotifierSaved:
    with kernel.write(OWNER) as ctx:
        return notifiers.put(ctx, name, NotifierPut.model_validate({"kind": "webhook"} | spec))


def burn(kernel: Kernel, severity: str = "page") -> str:
    with kernel.write(OWNER) as ctx:
        return alerts.raise_alert(ctx, BURN.model_copy(update={"severity": severity})).id


def told(kernel: Kernel, name: str | None = None) -> list[Delivery]:
    with kernel.read(OWNER) as ctx:
        return deliveries.list_deliveries(ctx, notifier=name).items


def sent(kernel: Kernel, worker: OutboxWorker, count: int = 1, name: str | None = None) -> bool:
    def done() -> bool:
        worker.step()
        return sum(d.state == "sent" for d in told(kernel, name)) >= count

    return until(done)


def test_a_webhook_is_told_once_with_a_signature_that_can_be_checked(kernel: Kernel, receiver: Receiver) -> None:
    saved = save(kernel, url=receiver.url)
    alert_id = burn(kernel)
    burn(kernel)
    assert sent(kernel, OutboxWorker(kernel))
    ((headers, body),) = receiver.got
    said = json.loads(body)
    (delivery,) = told(kernel)
    assert (said["type"], said["data"]["id"], said["data"]["severity"]) == ("alert.opened", alert_id, "page")
    assert said["id"] == headers["tidemill-delivery"] == delivery.id
    assert saved.secret is not None
    signature = headers["tidemill-signature"]
    assert channels.verify(saved.secret, signature, body)
    assert not channels.verify(saved.secret, signature, body + b" ")
    assert not channels.verify("whsec_other", signature, body)
    assert not channels.verify(saved.secret, signature, body, now=time.time() + 301)
    assert not channels.verify(saved.secret, "garbage", body)


def test_an_alert_that_is_rolled_back_tells_nobody(kernel: Kernel, receiver: Receiver) -> None:
    save(kernel, url=receiver.url)

    def fail() -> None:
        with kernel.write(OWNER) as ctx:
            alerts.raise_alert(ctx, BURN)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    OutboxWorker(kernel).step()
    assert told(kernel) == []


def test_only_the_severities_asked_for_are_told_and_the_end_too(kernel: Kernel, receiver: Receiver) -> None:
    save(kernel, url=receiver.url, severities=["page"])
    burn(kernel, "ticket")
    alert_id = burn(kernel)
    with kernel.write(OWNER) as ctx:
        alerts.acknowledge(ctx, alert_id, AlertNote())
        alerts.resolve(ctx, alert_id, AlertNote(note="turned it off and on"))
    assert sent(kernel, OutboxWorker(kernel), 2)
    assert {json.loads(body)["type"] for _, body in receiver.got} == {"alert.opened", "alert.resolved"}
    with kernel.read(OWNER) as ctx:
        whats = {change.what for change in alerts.get(ctx, alert_id).history}
    assert whats == {"opened", "acknowledged", "resolved", "told"}


@pytest.mark.parametrize("behaviour", ["hang", "drip"])
def test_a_receiver_that_hangs_holds_up_nobody(
    kernel: Kernel, receiver: Receiver, behaviour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It hangs for as long as the test takes: a step that waited for it would never end.
    monkeypatch.setattr(channels, "STEP_TIMEOUT_S", 3600)
    monkeypatch.setattr(outbox_worker, "ATTEMPT_TIMEOUT_S", 3600)
    with http_receiver() as good:
        receiver.behaviour = behaviour
        save(kernel, "bad", url=receiver.url)
        save(kernel, "good", url=good.url)
        burn(kernel)
        worker = OutboxWorker(kernel)
        assert sent(kernel, worker, name="good")
        assert told(kernel, "bad")[0].attempts == 0
        monkeypatch.setattr(outbox_worker, "ATTEMPT_TIMEOUT_S", 0)
        assert until(lambda: (worker.step(), told(kernel, "bad")[0].attempts > 0)[1])
        monkeypatch.setattr(outbox_worker, "ATTEMPT_TIMEOUT_S", 3600)
        (waiting,) = told(kernel, "bad")
        assert waiting.state == "waiting"
        assert waiting.error is not None
        assert "no answer" in waiting.error
        receiver.behaviour = "ok"
        receiver.released.set()
        assert sent(kernel, worker, name="bad"), "it is told when it answers again"
        ids = {headers["tidemill-delivery"] for headers, _ in receiver.got}
        assert ids == {waiting.id}, "every copy has the same id"


def test_an_answer_is_waited_for_no_longer_than_a_step_may_take(kernel: Kernel, receiver: Receiver) -> None:
    receiver.behaviour = "hang"
    save(kernel, url=receiver.url)
    burn(kernel)
    worker = OutboxWorker(kernel)
    assert until(lambda: (worker.step(), told(kernel)[0].attempts > 0)[1])
    assert "no answer within" in (told(kernel)[0].error or "")


@pytest.mark.parametrize("status", ["500", "302", "404"])
def test_a_refused_message_is_tried_again_and_redirects_are_not_followed(
    kernel: Kernel, receiver: Receiver, status: str
) -> None:
    receiver.behaviour = status
    save(kernel, url=receiver.url)
    burn(kernel)
    worker = OutboxWorker(kernel)
    assert until(lambda: (worker.step(), told(kernel)[0].attempts > 1)[1])
    assert told(kernel)[0].error == f"the receiver answered {status}"
    receiver.behaviour = "ok"
    assert sent(kernel, worker)
    assert told(kernel)[0].error is None


def test_a_receiver_that_is_not_there_is_tried_again(kernel: Kernel) -> None:
    save(kernel, url=f"http://127.0.0.1:{free_port()}/")
    burn(kernel)
    worker = OutboxWorker(kernel)
    assert until(lambda: (worker.step(), told(kernel)[0].attempts > 0)[1])
    assert "ConnectError" in (told(kernel)[0].error or "")


def test_after_a_day_it_is_given_up_and_a_person_can_try_again(kernel: Kernel, receiver: Receiver) -> None:
    receiver.behaviour = "500"
    save(kernel, url=receiver.url)
    burn(kernel)
    (waiting,) = told(kernel)
    with kernel.write(OWNER) as ctx:
        with pytest.raises(DeliveryNotEnded):
            deliveries.retry(ctx, waiting.id)
        outbox.update(ctx.conn, waiting.id, created_at=utc_now() - timedelta(hours=25))
    worker = OutboxWorker(kernel)
    assert until(lambda: (worker.step(), told(kernel)[0].state == "failed")[1])
    receiver.behaviour = "ok"
    with kernel.write(OWNER) as ctx:
        assert len(events.list_events(ctx.conn, kind="notifier.gave_up")) == 1
        deliveries.retry(ctx, waiting.id)
    assert sent(kernel, worker)


def test_a_receiver_that_is_gone_for_good_is_not_tried_again(kernel: Kernel, receiver: Receiver) -> None:
    receiver.behaviour = "410"
    save(kernel, url=receiver.url)
    burn(kernel)
    worker = OutboxWorker(kernel)
    assert until(lambda: (worker.step(), told(kernel)[0].state == "failed")[1])
    assert len(receiver.got) == 1


def test_slack_gets_its_form_with_markup_disarmed(kernel: Kernel, receiver: Receiver) -> None:
    save(kernel, kind="slack", url=receiver.url)
    burn(kernel)
    assert sent(kernel, OutboxWorker(kernel))
    said = json.loads(receiver.got[0][1])
    assert said["text"] == "answers: &lt;!channel&gt; burn &amp; smoke"
    assert said["blocks"][0]["type"] == "section"
    assert "page" in said["blocks"][0]["text"]["text"]


EMAIL = {
    "kind": "email",
    "host": "127.0.0.1",
    "security": "none",
    "sender": "tidemill@example.org",
    "recipients": ["ada@example.org", "bob@example.org"],
}


def test_e_mail_arrives_with_one_id_however_often_it_is_sent(kernel: Kernel) -> None:
    with smtp_server() as (box, port):
        save(kernel, **EMAIL, port=port)
        burn(kernel)
        worker = OutboxWorker(kernel)
        box.busy = True
        assert until(lambda: (worker.step(), told(kernel)[0].attempts > 0)[1])
        assert "451 try again later" in (told(kernel)[0].error or "")
        box.busy = False
        assert sent(kernel, worker)
    (mail,) = box.mails
    assert mail["Subject"] == "[Tidemill] answers: <!channel> burn & smoke"
    assert mail["Message-ID"] == f"<{told(kernel)[0].id}@example.org>"
    assert '"severity": "page"' in mail.get_payload(decode=True).decode()


def test_e_mail_to_a_server_that_is_away_arrives_when_it_is_back(kernel: Kernel) -> None:
    port = free_port()
    save(kernel, **EMAIL, port=port)
    burn(kernel)
    worker = OutboxWorker(kernel)
    assert until(lambda: (worker.step(), told(kernel)[0].attempts > 0)[1])
    assert "refused" in (told(kernel)[0].error or "").lower()
    with smtp_server(port=port) as (box, _):
        assert sent(kernel, worker)
        assert len(box.mails) == 1


def test_e_mail_that_some_refuse_is_not_sent_to_the_others_again(kernel: Kernel) -> None:
    with smtp_server() as (box, port):
        box.refuse = "bob@example.org"
        save(kernel, **EMAIL, port=port)
        burn(kernel)
        worker = OutboxWorker(kernel)
        assert until(lambda: (worker.step(), told(kernel)[0].state == "failed")[1])
        assert "refused bob@example.org" in (told(kernel)[0].error or "")
        assert len(box.mails) == 1


def test_a_server_without_encryption_is_not_given_a_mail(kernel: Kernel) -> None:
    with smtp_server() as (box, port):
        save(kernel, **(EMAIL | {"security": "starttls"}), port=port)
        burn(kernel)
        worker = OutboxWorker(kernel)
        assert until(lambda: (worker.step(), told(kernel)[0].attempts > 0)[1])
        assert "STARTTLS" in (told(kernel)[0].error or "")
        assert box.mails == []


def test_secrets_are_in_no_listing_and_stay_when_a_change_leaves_them_out(kernel: Kernel, receiver: Receiver) -> None:
    saved = save(kernel, url=receiver.url)
    again = save(kernel, severities=["ticket"], url=receiver.url)
    assert again.secret is None
    mail = save(kernel, "mail", **(EMAIL | {"security": "tls"}), username="u", secret="hunter2")
    with kernel.read(OWNER) as ctx:
        shown = notifiers.list_notifiers(ctx).model_dump_json() + mail.model_dump_json() + again.model_dump_json()
        facts = json.dumps([e.data for e in events.list_events(ctx.conn, kind="notifier.saved")])
        row = outbox.find_notifier(ctx.conn, name="ops")
    for secret in ("s3cr3t-token", "also-secret", "hunter2", saved.secret):
        assert str(secret) not in shown + facts
    assert row is not None
    assert notifiers.open_secrets(kernel.get(Vault), row) == {"url": receiver.url, "secret": saved.secret}
    assert "127.0.0.1" in shown


def test_removing_a_notifier_removes_what_waits(kernel: Kernel) -> None:
    save(kernel, url="http://127.0.0.1:9/")
    burn(kernel)
    with kernel.write(OWNER) as ctx:
        notifiers.remove(ctx, "ops")
        with pytest.raises(NotifierNotFound):
            notifiers.send_test(ctx, "ops")
    assert told(kernel) == []
    assert not OutboxWorker(kernel).step()


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "webhook"},
        {"kind": "webhook", "url": "ftp://x/y"},
        {"kind": "slack", "url": "not a url"},
        {"kind": "email", "host": "x", "sender": "a@b"},
        {"kind": "email", "host": "x", "sender": "a@b", "recipients": ["a@b\nBcc: c@d"]},
        {**EMAIL, "username": "u", "secret": "p"},
        {"kind": "pager", "url": "http://x"},
    ],
)
def test_a_notifier_that_cannot_work_is_refused_without_saying_its_secrets(spec: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        NotifierPut.model_validate(spec)
    assert "hunter2" not in repr(NotifierPut(kind="webhook", url="http://x/hunter2", secret="hunter2"))


def test_back_off_doubles_up_to_half_an_hour() -> None:
    waits = [channels.back_off(n) for n in range(1, 40)]
    assert waits[0] < 0.1
    assert all(later > earlier * 1.5 for earlier, later in pairwise(waits[:6]))
    assert max(waits) <= channels.MAX_BACKOFF_S * 1.1
