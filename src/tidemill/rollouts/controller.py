"""Moves rollouts on: reads new answers and scores, analyses them, and does what follows."""

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Protocol

from anyio import to_thread

from tidemill.core.actors import SYSTEM
from tidemill.core.errors import TidemillError
from tidemill.core.kernel import Kernel
from tidemill.core.wire import utc_now
from tidemill.rollouts import decisions, service, store
from tidemill.rollouts.analysis import RolloutAnalysis
from tidemill.rollouts.comparison import ShadowComparison, load_scorer
from tidemill.rollouts.observations import Observations
from tidemill.rollouts.shadow import ShadowSampler, ShadowSamplers
from tidemill.rollouts.types import Infrastructure, Rollout, RolloutEvidence, ShadowStep

log = logging.getLogger("tidemill.rollouts")

TICK_S = 0.5
KEEP_S = 2.0
"""Seconds between two writes of the evidence of a rollout that stays where it is."""


class Engines(Protocol):
    """What the engines of deployments have to tell; the reconciler of deployments is one."""

    def deaths(self, release_id: str) -> int:
        """Return the deaths and failed starts of a release's engines since the server started."""
        ...

    def fallbacks(self, split_id: str) -> int:
        """Return how many calls the old release answered because the new one had no engine ready."""
        ...

    def wake(self) -> None:
        """Bring about at once what has changed."""
        ...


@dataclass
class _Case:
    """An open rollout and its running analysis."""

    observations: Observations
    analysis: RolloutAnalysis
    shadow: ShadowComparison | None
    before: Infrastructure | None
    """What an earlier server had counted."""
    deaths_at_first: int
    skipped_before: int = 0
    sampler: ShadowSampler | None = None
    """The one whose skipped calls are not among those before."""
    kept: RolloutEvidence | None = None
    kept_at: float = field(default_factory=time.monotonic)


class RolloutController:
    """A service of the server. All it knows can be rebuilt from the database and the traces at any time."""

    def __init__(self, kernel: Kernel, engines: Engines, samplers: ShadowSamplers, *, keep_s: float = KEEP_S) -> None:
        self._kernel = kernel
        self._engines = engines
        self._samplers = samplers
        self._keep_s = keep_s
        self._cases: dict[str, _Case] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the loop."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop the loop; another server goes on from here."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            try:
                if await to_thread.run_sync(self.tick):
                    self._engines.wake()
            except TidemillError as error:
                log.error("%s Rollouts stay where they are.", error.message)
            except Exception:
                log.exception("a round of the rollouts failed; the next one follows")
            await asyncio.sleep(TICK_S)

    def tick(self) -> bool:
        """Analyse every open rollout once; True when one of them moved."""
        with self._kernel.read(SYSTEM) as ctx:
            begun = [r for r in service.list_open(ctx) if r.began_at is not None]
        self._cases = {r.id: case for r in begun if (case := self._cases.get(r.id)) is not None}
        moved = [self._analyse(rollout) for rollout in begun]
        return any(moved)

    def _analyse(self, rollout: Rollout) -> bool:
        case = self._cases.get(rollout.id)
        if case is None:
            case = self._cases[rollout.id] = self._open_case(rollout)
        with self._kernel.read(SYSTEM) as ctx:
            for answer in case.observations.answers(ctx):
                case.analysis.add_answer(answer)
            for score in case.observations.scores(ctx):
                case.analysis.add_score(score)
        self._judge_pairs(rollout, case)
        evidence = self._evidence(rollout, case)
        decision = decisions.decide(rollout, evidence, evidence.at)
        if decision.action == "stay" and not self._worth_keeping(case, evidence):
            return False
        with self._kernel.write(SYSTEM) as ctx:
            after = service.advance(ctx, rollout, decision, evidence)
        case.kept, case.kept_at = evidence, time.monotonic()
        if decision.action != "stay":
            log.warning("rollout of %s in %s: %s. %s", rollout.release, rollout.environment, after.state, after.reason)
        return decision.action != "stay"

    def _open_case(self, rollout: Rollout) -> _Case:
        terms = next((step.shadow for step in rollout.steps if isinstance(step, ShadowStep)), None)
        shadow = ShadowComparison(rollout, load_scorer(self._kernel.plugins, terms)) if terms is not None else None
        with self._kernel.read(SYSTEM) as ctx:
            kept = store.evidence_of(ctx.conn, rollout.id)
            if shadow is not None:
                for pair in service.iterate_pairs(ctx, rollout.id):
                    shadow.add(pair)
        return _Case(
            observations=Observations(rollout),
            analysis=RolloutAnalysis(rollout),
            shadow=shadow,
            before=kept.infrastructure if kept is not None else None,
            skipped_before=kept.shadow.skipped if kept is not None and kept.shadow is not None else 0,
            deaths_at_first=self._engines.deaths(rollout.release_id),
        )

    def _evidence(self, rollout: Rollout, case: _Case) -> RolloutEvidence:
        deaths = max(self._engines.deaths(rollout.release_id) - case.deaths_at_first, 0)
        fallbacks = self._engines.fallbacks(rollout.id)
        if case.before is not None:
            deaths, fallbacks = deaths + case.before.deaths, fallbacks + case.before.fallbacks
        shadow = case.shadow.evidence(self._skipped(rollout, case)) if case.shadow is not None else None
        return case.analysis.evidence(utc_now(), deaths=deaths, fallbacks=fallbacks, shadow=shadow)

    def _skipped(self, rollout: Rollout, case: _Case) -> int:
        """Since the rollout began: a sampler counts from its own start, the kept evidence tells what was before."""
        sampler = self._samplers.get(rollout.id)
        if sampler is not case.sampler:
            case.skipped_before += case.sampler.skipped if case.sampler is not None else 0
            case.sampler = sampler
        return case.skipped_before + (sampler.skipped if sampler is not None else 0)

    def _judge_pairs(self, rollout: Rollout, case: _Case) -> None:
        sampler = self._samplers.get(rollout.id)
        results = sampler.drain() if sampler is not None else []
        if not results or case.shadow is None:
            return
        judged = case.shadow.judge(self._kernel, utc_now(), results)
        with self._kernel.write(SYSTEM) as ctx:
            service.keep_pairs(ctx, judged)
        for pair in judged:
            case.shadow.add(pair)

    def _worth_keeping(self, case: _Case, evidence: RolloutEvidence) -> bool:
        if case.kept is not None and time.monotonic() - case.kept_at < self._keep_s:
            return False
        same = case.kept is not None and case.kept.model_copy(update={"at": evidence.at}) == evidence
        return not same
