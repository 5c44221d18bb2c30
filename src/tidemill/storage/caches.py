"""Answers that evaluations keep in the database so that nobody asks a model twice: the old ones may go."""

import time
from collections.abc import Iterator
from datetime import datetime

from tidemill.core.actors import SYSTEM
from tidemill.core.kernel import Kernel
from tidemill.evals import service as evals
from tidemill.storage.survey import StorageUsage
from tidemill.storage.types import StorageItem

KIND = "cached answers of evaluations"
OLD_ANSWERS = "database/eval_answers: old"
YOUNG_ANSWERS = "database/eval_answers"

ROWS = 500
"""Rows deleted in one transaction."""

PAUSE_S = 0.05


def list_caches(kernel: Kernel, usage: StorageUsage) -> Iterator[StorageItem]:
    """Yield the cached answers, the old ones apart; sizes are those of their texts."""
    with kernel.read(SYSTEM) as ctx:
        old, young = evals.measure_cache(ctx, usage.old_before)
        now = ctx.now
    day = f"{usage.old_before:%Y-%m-%d}"
    if young[0]:
        why = f"{young[0]} answers since {day}, which an evaluation takes again"
        yield _item(YOUNG_ANSWERS, young[1], now, "needed", why)
    if old[0]:
        why = f"{old[0]} answers are older than {day}; they are asked for again when they are needed"
        yield _item(OLD_ANSWERS, old[1], usage.old_before, "removable", why)


def _item(name: str, size: int, at: datetime, state: str, why: str) -> StorageItem:
    users = ["evaluations"] if state == "needed" else []
    return StorageItem.model_validate(
        {"name": name, "kind": KIND, "size": size, "at": at, "needed_by": users, "state": state, "why": why}
    )


def delete_old_answers(kernel: Kernel, before: datetime) -> None:
    """Delete the answers that are older than a moment, a few at a time."""
    while True:
        with kernel.write(SYSTEM) as ctx:
            count = evals.delete_cache(ctx, before, ROWS)
        if count < ROWS:
            return
        time.sleep(PAUSE_S)
