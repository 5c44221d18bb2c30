"""Advances rollouts: reads new answers and scores, analyses them, and acts on the decision."""

import logging
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from anyio import to_thread

from tidemill.core.actors import SYSTEM
from tidemill.core.background import REST_S, BackgroundLoop, FailureLog
from tidemill.core.kernel import Kernel
from tidemill.core.wire import utc_now
from tidemill.gateway.types import ShadowResult
from tidemill.rollouts import decisions, service, store
from tidemill.rollouts.analysis import RolloutAnalysis
from tidemill.rollouts.comparison import ShadowComparison, load_scorer
from tidemill.rollouts.observations import Observations
from tidemill.rollouts.shadow import MAX_PENDING, ShadowSampler, ShadowSamplers
from tidemill.rollouts.types import Infrastructure, Rollout, RolloutEvidence, ShadowPair, ShadowStep

log = logging.getLogger("tidemill.rollouts")

TICK_S = 0.5
STOP_S = 5.0
STORE_EVERY_S = 2.0
"""Seconds between two writes of a rollout's evidence while no decision is made."""


class Engines(Protocol):
    """The state of the engines of deployments; the reconciler of deployments implements it."""

    def deaths(self, release_id: str) -> int:
        """Return the deaths and failed starts of a release's engines since the server started."""
        ...

    def fallbacks(self, split_id: str) -> int:
        """Return how many calls the old release answered because the new one had no engine ready."""
        ...


@dataclass
class _OpenRollout:
    """An open rollout and its running analysis."""

    observations: Observations
    analysis: RolloutAnalysis
    shadow: ShadowComparison | None
    before: Infrastructure | None
    """The counts of an earlier server."""
    deaths_at_start: int
    skipped_before: int = 0
    copies: deque[ShadowResult] = field(default_factory=lambda: deque(maxlen=MAX_PENDING))
    """Copied calls that are not judged yet; more than these are dropped, the oldest first."""
    judged: list[ShadowPair] = field(default_factory=list)
    """Judged pairs that are not stored yet, as the database refused them."""
    sampler: ShadowSampler | None = None
    """The sampler whose skipped calls are not in `skipped_before`."""
    stored: RolloutEvidence | None = None
    stored_at: float = field(default_factory=time.monotonic)


class RolloutController:
    """Advances open rollouts in a loop. Its state can be rebuilt from the database and the traces at any time."""

    def __init__(
        self, kernel: Kernel, engines: Engines, samplers: ShadowSamplers, *, store_every_s: float = STORE_EVERY_S
    ) -> None:
        self._kernel = kernel
        self._engines = engines
        self._samplers = samplers
        self._store_every_s = store_every_s
        self._open_rollouts: dict[str, _OpenRollout] = {}
        self._loop: BackgroundLoop | None = None
        self._failures = FailureLog(log)

    async def start(self) -> None:
        """Start the loop."""
        self._loop = BackgroundLoop(
            "tidemill-rollouts", self._step, self._rest_s, self._kernel.db.changes, log, tick_s=TICK_S
        )
        self._loop.start()
        self._kernel.loops["rollouts"] = self._loop.is_alive

    async def stop(self) -> None:
        """Stop the loop; another server can continue."""
        if self._loop is not None:
            await to_thread.run_sync(self._loop.stop, STOP_S)

    def _step(self) -> bool:
        self.tick()
        return False

    def _rest_s(self) -> float:
        """Answers and scores come in without a commit that tells of them, so open rollouts are looked at again soon."""
        return TICK_S if self._open_rollouts else REST_S

    def tick(self) -> bool:
        """Analyse every open rollout once. Return whether one moved. One that fails stays where it is."""
        with self._kernel.read(SYSTEM) as ctx:
            begun = [r for r in service.list_open(ctx) if r.began_at is not None]
        self._open_rollouts = {r.id: current for r in begun if (current := self._open_rollouts.get(r.id)) is not None}
        moved = False
        for rollout in begun:
            with self._failures.guard(f"Analysing the rollout of {rollout.release} in {rollout.environment}"):
                moved = self._analyse(rollout) or moved
        return moved

    def _analyse(self, rollout: Rollout) -> bool:
        current = self._open_rollouts.get(rollout.id)
        if current is None:
            current = self._open_rollouts[rollout.id] = self._open(rollout)
        with self._kernel.read(SYSTEM) as ctx:
            for answer in current.observations.answers(ctx):
                current.analysis.add_answer(answer)
            for score in current.observations.scores(ctx):
                current.analysis.add_score(score)
        self._judge_pairs(rollout, current)
        evidence = self._evidence(rollout, current)
        decision = decisions.decide(rollout, evidence, evidence.at)
        if decision.action == "stay" and not self._should_store(current, evidence):
            return False
        with self._kernel.write(SYSTEM) as ctx:
            after = service.advance(ctx, rollout, decision, evidence)
        current.stored, current.stored_at = evidence, time.monotonic()
        if decision.action != "stay":
            log.warning("rollout of %s in %s: %s. %s", rollout.release, rollout.environment, after.state, after.reason)
        return decision.action != "stay"

    def _open(self, rollout: Rollout) -> _OpenRollout:
        terms = next((step.shadow for step in rollout.steps if isinstance(step, ShadowStep)), None)
        shadow = ShadowComparison(rollout, load_scorer(self._kernel.plugins, terms)) if terms is not None else None
        with self._kernel.read(SYSTEM) as ctx:
            stored = store.find_evidence(ctx.conn, rollout.id)
            if shadow is not None:
                for pair in service.iterate_pairs(ctx, rollout.id):
                    shadow.add(pair)
        return _OpenRollout(
            observations=Observations(rollout),
            analysis=RolloutAnalysis(rollout),
            shadow=shadow,
            before=stored.infrastructure if stored is not None else None,
            skipped_before=stored.shadow.skipped if stored is not None and stored.shadow is not None else 0,
            deaths_at_start=self._engines.deaths(rollout.release_id),
        )

    def _evidence(self, rollout: Rollout, current: _OpenRollout) -> RolloutEvidence:
        deaths = max(self._engines.deaths(rollout.release_id) - current.deaths_at_start, 0)
        fallbacks = self._engines.fallbacks(rollout.id)
        if current.before is not None:
            deaths, fallbacks = deaths + current.before.deaths, fallbacks + current.before.fallbacks
        shadow = current.shadow.evidence(self._skipped(rollout, current)) if current.shadow is not None else None
        return current.analysis.evidence(utc_now(), deaths=deaths, fallbacks=fallbacks, shadow=shadow)

    def _skipped(self, rollout: Rollout, current: _OpenRollout) -> int:
        """Return the skipped calls since the rollout began: those in stored evidence, and those of later samplers."""
        sampler = self._samplers.get(rollout.id)
        if sampler is not current.sampler:
            current.skipped_before += current.sampler.skipped if current.sampler is not None else 0
            current.sampler = sampler
        return current.skipped_before + (sampler.skipped if sampler is not None else 0)

    def _judge_pairs(self, rollout: Rollout, current: _OpenRollout) -> None:
        sampler = self._samplers.get(rollout.id)
        if sampler is not None:
            current.copies.extend(sampler.drain())
        if current.shadow is None:
            return
        if not current.judged:
            current.judged = current.shadow.judge(self._kernel, utc_now(), list(current.copies))
            current.copies.clear()
        if not current.judged:
            return
        with self._kernel.write(SYSTEM) as ctx:
            service.insert_pairs(ctx, current.judged)
        for pair in current.judged:
            current.shadow.add(pair)
        current.judged = []

    def _should_store(self, current: _OpenRollout, evidence: RolloutEvidence) -> bool:
        if current.stored is not None and time.monotonic() - current.stored_at < self._store_every_s:
            return False
        same = current.stored is not None and current.stored.model_copy(update={"at": evidence.at}) == evidence
        return not same
