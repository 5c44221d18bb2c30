"""Sends the messages of the outbox: one thread a message, one message at a time for each notifier."""

import logging
import threading
import time
from datetime import timedelta

from anyio import to_thread

from tidemill.core.actors import SYSTEM
from tidemill.core.background import TICK_S, BackgroundLoop, seconds_until
from tidemill.core.errors import SecretUnreadable, TidemillError
from tidemill.core.kernel import Kernel
from tidemill.core.vault import Vault
from tidemill.core.wire import utc_now
from tidemill.notifications import channels
from tidemill.notifications.channels import ATTEMPT_TIMEOUT_S
from tidemill.notifications.service import deliveries, notifiers
from tidemill.notifications.store import outbox as store
from tidemill.notifications.store.outbox import ClaimedDelivery, NotifierRecord
from tidemill.notifications.types import ChannelFailed

log = logging.getLogger("tidemill.notifications")

CLAIM_DURATION = timedelta(seconds=4 * ATTEMPT_TIMEOUT_S)
"""How long a message belongs to the worker that claimed it."""

BATCH = 20
STOP_S, DRAIN_S = 5.0, 2.0


class DeliveryAttempt:
    """One attempt to send a message, in a daemon thread of its own."""

    def __init__(self, vault: Vault, delivery: ClaimedDelivery, notifier: NotifierRecord) -> None:
        self.vault = vault
        self.delivery = delivery
        self.notifier = notifier
        self.error: str | None = None
        self.final = False
        self.recorded = False
        self.started = time.monotonic()
        self.thread = threading.Thread(target=self._run, name=f"tidemill-{delivery.id}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            secrets = notifiers.open_secrets(self.vault, self.notifier)
            channels.send(self.notifier.kind, self.notifier.config, secrets, self.delivery.id, self.delivery.message)
        except ChannelFailed as error:
            self.error, self.final = error.message, error.final
        except SecretUnreadable as error:
            self.error = f"{error.message} {error.hint}"
        except Exception as error:  # noqa: BLE001  whatever a channel meets, the message is tried again
            self.error = f"{type(error).__name__}: {error}"

    @property
    def ended(self) -> bool:
        """Whether the attempt has ended."""
        return not self.thread.is_alive()

    @property
    def hangs(self) -> bool:
        """Whether the attempt has taken longer than it may."""
        return not self.ended and time.monotonic() - self.started > ATTEMPT_TIMEOUT_S


class OutboxWorker:
    """Sends due messages while a server runs. `step` never waits for a receiver."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._attempts: dict[str, DeliveryAttempt] = {}
        self._loop: BackgroundLoop | None = None

    async def start(self) -> None:
        """Start sending. Logs at once which secrets cannot be read."""
        for error in await to_thread.run_sync(notifiers.seal_all, self.kernel):
            log.error("%s %s", error.message, error.hint)
        self._loop = BackgroundLoop("tidemill-outbox", self.step, self.rest_s, self.kernel.db.changes, log)
        self._loop.start()
        self.kernel.loops["notifications"] = self._loop.is_alive

    async def stop(self) -> None:
        """Stop after the current step. What is not sent yet is sent after the next start."""
        await to_thread.run_sync(self._stop)

    def _stop(self) -> None:
        if self._loop is not None:
            self._loop.stop(STOP_S)
        self.drain(DRAIN_S)

    def step(self) -> bool:
        """Record ended attempts and start due ones. Return whether there may be more to do at once."""
        recorded = self._record_ended()
        now = utc_now()
        busy = list(self._attempts)
        with self.kernel.read(SYSTEM) as ctx:
            if not store.has_due(ctx.conn, now, busy):
                return recorded
        first: dict[str, tuple[ClaimedDelivery, NotifierRecord]] = {}
        with self.kernel.write(SYSTEM) as ctx:
            for delivery in store.claim(ctx.conn, now, now + CLAIM_DURATION, busy, BATCH):
                notifier = store.find_notifier(ctx.conn, notifier_id=delivery.notifier_id)
                if notifier is None:
                    store.update(ctx.conn, delivery.id, state="failed", next_at=None, error="the notifier was removed")
                elif notifier.id in first:
                    store.update(ctx.conn, delivery.id, next_at=delivery.next_at)
                else:
                    first[notifier.id] = (delivery, notifier)
        vault = self.kernel.get(Vault)
        # Only after the commit: what is sent must be claimed for certain.
        self._attempts |= {notifier_id: DeliveryAttempt(vault, *pair) for notifier_id, pair in first.items()}
        return True

    def rest_s(self) -> float:
        """Return the seconds until the next message is due, or until an attempt under way is looked at."""
        if self._attempts:
            return TICK_S
        with self.kernel.read(SYSTEM) as ctx:
            due = store.next_due(ctx.conn)
        return seconds_until([due] if due is not None else [])

    def _record_ended(self) -> bool:
        done = False
        for notifier_id, attempt in list(self._attempts.items()):
            if (attempt.ended or attempt.hangs) and not attempt.recorded:
                error = attempt.error if attempt.ended else f"no answer within {ATTEMPT_TIMEOUT_S:g} s"
                with self.kernel.write(SYSTEM) as ctx:
                    deliveries.record_attempt(ctx, attempt.delivery, error, final=attempt.final)
                attempt.recorded = done = True
                if error is not None:
                    log.warning("%s does not reach %s: %s", attempt.delivery.id, attempt.notifier.name, error)
            # A receiver that hangs keeps its own thread; nothing more is sent to it until the thread has ended.
            if attempt.ended:
                del self._attempts[notifier_id]
        return done

    def drain(self, seconds: float) -> None:
        """Wait at most `seconds` for running attempts, when the server stops."""
        deadline = time.monotonic() + seconds
        while self._attempts and time.monotonic() < deadline:
            for attempt in list(self._attempts.values()):
                attempt.thread.join(timeout=max(0.0, min(0.1, deadline - time.monotonic())))
            try:
                self._record_ended()
            except TidemillError as error:
                log.warning("what was sent cannot be recorded: %s", error.message)
                return
