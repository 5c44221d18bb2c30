"""`client.rollouts`: moving an environment to a release step by step."""

import time
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from tidemill.core.errors import Unavailable
from tidemill.core.http import Http
from tidemill.core.wire import Page
from tidemill.rollouts.types import (
    Rollout,
    RolloutCreate,
    RolloutMove,
    RolloutPage,
    ShadowPair,
    Step,
    Strategy,
)


class RolloutPending(Unavailable):
    """The rollout is still open after the timeout of `wait`."""

    code = "rollout_pending"


class Rollouts:
    """Rollouts: canaries, blue/green switches and shadows."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def start(
        self,
        release: str,
        environment: str,
        *,
        strategy: Strategy = "canary",
        steps: Sequence[Step | dict[str, Any]] | None = None,
        warm: float | str = 600.0,
        replicas: int = 1,
        note: str = "",
        force_reason: str | None = None,
    ) -> Rollout:
        """Request a rollout; it goes on by itself. `steps` are such as `{"weight": 10}`, `{"pause": "30s"}`,
        `{"pause": {}}`, `{"analysis": {...}}` and `{"shadow": {...}}`.

        Raises RolloutActive, NothingToRollOut, RolloutPlanInvalid, PromotionOutOfOrder, NotCleared, ForceNotAllowed.
        """
        steps_json = [s.model_dump() if isinstance(s, BaseModel) else s for s in steps] if steps is not None else None
        body = RolloutCreate.model_validate(
            {
                "release": self._http.release_ref(release),
                "environment": environment,
                "strategy": strategy,
                "steps": steps_json,
                "warm": warm,
                "replicas": replicas,
                "note": note,
                "force_reason": force_reason,
            }
        )
        return self._http.post("/api/rollouts", Rollout, body)

    def show(self, rollout: str) -> RolloutPage:
        """Return one rollout with its history and its evidence. Raises RolloutNotFound."""
        return self._http.get(f"/api/rollouts/{rollout}", RolloutPage)

    def get(self, rollout: str) -> Rollout:
        """Return one rollout. Raises RolloutNotFound."""
        return self.show(rollout).rollout

    def list(
        self,
        *,
        environment: str | None = None,
        name: str | None = None,
        release: str | None = None,
        active: bool = False,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Rollout]:
        """Return rollouts, newest first; with `active` only open ones."""
        params = {
            "environment": environment,
            "name": name,
            "release": release,
            "active": active,
            "cursor": cursor,
            "limit": limit,
        }
        return self._http.get("/api/rollouts", Page[Rollout], params=params)

    def pairs(self, rollout: str, *, cursor: str | None = None, limit: int = 50) -> Page[ShadowPair]:
        """Return copied calls with both answers, newest first."""
        params = {"cursor": cursor, "limit": limit}
        return self._http.get(f"/api/rollouts/{rollout}/pairs", Page[ShadowPair], params=params)

    def promote(self, rollout: str, *, note: str = "") -> Rollout:
        """Send all callers to the new release now. Raises RolloutEnded, RolloutNotReady."""
        return self._move(rollout, "promote", note)

    def pause(self, rollout: str, *, note: str = "") -> Rollout:
        """Pause at the present step. Raises RolloutEnded, RolloutNotReady."""
        return self._move(rollout, "pause", note)

    def resume(self, rollout: str, *, note: str = "") -> Rollout:
        """Continue after a pause or a hold. Raises RolloutEnded, RolloutNotReady."""
        return self._move(rollout, "resume", note)

    def abort(self, rollout: str, *, note: str = "") -> Rollout:
        """Send all callers back to the old release at once. Raises RolloutEnded."""
        return self._move(rollout, "abort", note)

    def wait(self, rollout: str, *, timeout: float = 3600.0) -> Rollout:
        """Return the rollout once it has ended or waits for a person (`paused`, `held`). Raises RolloutPending."""
        deadline = time.monotonic() + timeout
        while (current := self.get(rollout)).state in ("starting", "running"):
            if time.monotonic() > deadline:
                raise RolloutPending(
                    f"The rollout of {current.release} is at {current.weight:g}% after {timeout:g} s: {current.reason}",
                    hint=f"`tidemill rollouts show {current.id}` says what it waits for.",
                )
            time.sleep(0.1)
        return current

    def _move(self, rollout: str, move: str, note: str) -> Rollout:
        return self._http.post(f"/api/rollouts/{rollout}/{move}", Rollout, RolloutMove(note=note))
