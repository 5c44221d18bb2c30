"""Empties the outbox: a thread for each message, one at a time for each notifier, so that none waits for another."""

import logging
import threading
import time
from datetime import timedelta
from typing import Any

from tidemill.core.actors import SYSTEM
from tidemill.core.errors import SecretUnreadable, TidemillError
from tidemill.core.kernel import Kernel
from tidemill.core.vault import Vault
from tidemill.core.wire import utc_now
from tidemill.monitors import notifiers
from tidemill.monitors.channels import TOTAL_S
from tidemill.monitors.store import outbox as store
from tidemill.monitors.types import ChannelFailed

log = logging.getLogger("tidemill.monitors")

CLAIM = timedelta(seconds=4 * TOTAL_S)
"""How long a message belongs to the sender that took it."""

BATCH = 20
KEEP_SENT = timedelta(days=30)


class Attempt:
    """One message on its way, in a thread that nobody has to wait for."""

    def __init__(self, vault: Vault, row: dict[str, Any], notifier: dict[str, Any]) -> None:
        self.vault = vault
        self.row = row
        self.notifier = notifier
        self.error: str | None = None
        self.final = False
        self.settled = False
        self.started = time.monotonic()
        self.thread = threading.Thread(target=self._run, name=f"tidemill-{row['id']}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            notifiers.send_claimed(self.vault, self.row, self.notifier)
        except ChannelFailed as error:
            self.error, self.final = error.message, error.final
        except SecretUnreadable as error:
            self.error = f"{error.message} {error.hint}"
        except Exception as error:  # noqa: BLE001  whatever a channel meets, the message is tried again
            self.error = f"{type(error).__name__}: {error}"

    @property
    def ended(self) -> bool:
        """Whether the receiver has answered."""
        return not self.thread.is_alive()

    @property
    def hangs(self) -> bool:
        """Whether the attempt has taken longer than it may."""
        return not self.ended and time.monotonic() - self.started > TOTAL_S


class Sender:
    """Sends what is due. `step` never waits for a receiver."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._flying: dict[str, Attempt] = {}

    def step(self) -> bool:
        """Settle what has ended, start what is due; True when there may be more to do at once."""
        settled = self._settle()
        now = utc_now()
        busy = list(self._flying)
        with self.kernel.read(SYSTEM) as ctx:
            if not store.any_due(ctx.conn, now, busy):
                return settled
        first: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        with self.kernel.write(SYSTEM) as ctx:
            for row in store.claim(ctx.conn, now, now + CLAIM, busy, BATCH):
                notifier = store.notifier(ctx.conn, notifier_id=row["notifier_id"])
                if notifier is None:
                    store.update(ctx.conn, row["id"], state="failed", next_at=None, error="the notifier was removed")
                elif notifier["id"] in first:
                    store.update(ctx.conn, row["id"], next_at=row["next_at"])
                else:
                    first[notifier["id"]] = (row, notifier)
        vault = self.kernel.get(Vault)
        # Only now: what is sent must be ours for certain.
        self._flying |= {notifier_id: Attempt(vault, *pair) for notifier_id, pair in first.items()}
        return True

    def _settle(self) -> bool:
        done = False
        for notifier_id, attempt in list(self._flying.items()):
            if (attempt.ended or attempt.hangs) and not attempt.settled:
                error = attempt.error if attempt.ended else f"no answer within {TOTAL_S:g} s"
                with self.kernel.write(SYSTEM) as ctx:
                    notifiers.settle(ctx, attempt.row, error, final=attempt.final)
                attempt.settled = done = True
                if error is not None:
                    log.warning("%s does not reach %s: %s", attempt.row["id"], attempt.notifier["name"], error)
            # A receiver that hangs keeps its own thread; nothing more is sent to it until the thread has ended.
            if attempt.ended:
                del self._flying[notifier_id]
        return done

    def drain(self, seconds: float) -> None:
        """Wait a moment for what is under way, at the server's end."""
        deadline = time.monotonic() + seconds
        while self._flying and time.monotonic() < deadline:
            for attempt in list(self._flying.values()):
                attempt.thread.join(timeout=max(0.0, min(0.1, deadline - time.monotonic())))
            try:
                self._settle()
            except TidemillError as error:
                log.warning("what was sent cannot be noted: %s", error.message)
                return

    def forget_old(self) -> int:
        """Remove messages that were sent long ago."""
        with self.kernel.write(SYSTEM) as ctx:
            return store.forget_old(ctx.conn, ctx.now, KEEP_SENT)
