"""The controller on real traces and scores, on SQLite and on PostgreSQL; only the engines are imagined."""

import random
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.deployments.test_service import live
from tests.releases.makers import make_release
from tests.traces.answers import SECOND, answer, store
from tidemill.core.actors import OWNER
from tidemill.core.errors import StorageFull
from tidemill.core.kernel import Kernel
from tidemill.deployments import service
from tidemill.deployments.types import ShadowTerms, TrafficSplit
from tidemill.feedback import service as scores
from tidemill.feedback.erasure import service as erasure
from tidemill.feedback.types.scores import ScoreCreate
from tidemill.gateway.types import ShadowResult, Usage
from tidemill.rollouts import service as rollouts
from tidemill.rollouts.controller import RolloutController
from tidemill.rollouts.observations import Observations
from tidemill.rollouts.shadow import ShadowSamplers
from tidemill.rollouts.types import Rollout, RolloutCreate, RolloutPage, ShadowPair
from tidemill.traces.types import SpanPayload


class Engines:
    """Engines that never die unless told so."""

    def __init__(self) -> None:
        self.died = 0

    def deaths(self, release_id: str) -> int:
        return self.died

    def fallbacks(self, split_id: str) -> int:
        return 0


class World:
    """hello@2 as a canary beside hello@1 in dev, and calls as the gateway would record them."""

    def __init__(self, kernel: Kernel, folder: Path, steps: list[Any], strategy: str = "canary") -> None:
        self.kernel = kernel
        self.random = random.Random(5)
        self.number = 0
        with kernel.write(OWNER) as ctx:
            make_release(ctx, folder)
            make_release(ctx, folder, sampling={"temperature": 0.1})
            live(ctx, "hello@1")
            asked = {"release": "hello@2", "environment": "dev", "steps": steps, "strategy": strategy}
            body = RolloutCreate.model_validate(asked)
            made = rollouts.start(ctx, body)
            service.go_live(ctx, made.deployment_id)
        self.id = made.id

    @property
    def page(self) -> RolloutPage:
        with self.kernel.read(OWNER) as ctx:
            return rollouts.get_page(ctx, self.id)

    def calls(self, count: int, *, old: float, new: float, weight: float = 0.5, **changed: Any) -> None:
        """Calls with a score; `changed` are fields of the canary's spans."""
        found: Rollout = self.page.rollout
        records, verdicts = [], []
        for _ in range(count):
            self.number += 1
            canary = self.random.random() < weight
            fields: dict[str, Any] = {"user": f"u{self.number}", "environment": "dev", "start_ns": time.time_ns()}
            fields["deployment_id"] = found.deployment_id if canary else found.baseline_deployment_id
            fields["duration_ns"] = int(self.random.uniform(0.5, 1.5) * SECOND)
            records.append(answer(self.number, **fields | (changed if canary else {})))
            verdicts.append((f"chatcmpl-{self.number}", float(self.random.random() < (new if canary else old))))
        store(self.kernel, *records)
        with self.kernel.write(OWNER) as ctx:
            for response, value in verdicts:
                scores.record_score(ctx, ScoreCreate(response_id=response, name="valid", score=value))


SCORED = {"scores": [{"name": "valid", "margin": 0.15}], "min_answers": 20}
STEPS = [{"weight": 50}, {"analysis": SCORED}]


@pytest.fixture
def world(kernel: Kernel, tmp_path: Path) -> World:
    return World(kernel, tmp_path, STEPS)


def test_a_good_release_is_promoted_with_its_evidence(world: World) -> None:
    controller = RolloutController(world.kernel, Engines(), ShadowSamplers())
    world.calls(20, old=0.9, new=0.9)
    assert controller.tick() is False
    assert world.page.now is not None
    assert world.page.now.baseline_answers + world.page.now.canary_answers == 20
    world.calls(200, old=0.9, new=0.95)
    assert controller.tick() is True
    page = world.page
    assert (page.rollout.state, page.rollout.weight) == ("promoted", 100)
    evidence = next(s.evidence for s in page.history if s.move == "passed")
    assert evidence is not None
    assert evidence.scores[0].good_enough >= 20
    assert evidence.scores[0].low is not None
    assert evidence.scores[0].low > -0.15 - 0.05


def test_a_bad_release_is_rolled_back_also_by_a_server_that_started_in_between(world: World) -> None:
    world.calls(8, old=0.95, new=0.5)
    RolloutController(world.kernel, Engines(), ShadowSamplers()).tick()
    before = world.page
    world.calls(100, old=0.95, new=0.5)
    assert (
        RolloutController(world.kernel, Engines(), ShadowSamplers()).tick() is True
    )  # another server: it reads everything anew
    page = world.page
    assert (page.rollout.state, page.rollout.weight) == ("rolled_back", 0)
    assert "valid is worse" in (page.rollout.reason or "")
    assert page.now is not None
    assert page.now.canary_answers > (before.now.canary_answers if before.now else 0)
    assert page.now.scores[0].worse >= page.now.scores[0].needed == 40  # two rules: the score and the errors


def test_one_user_who_complains_much_is_one_voice(world: World) -> None:
    controller = RolloutController(world.kernel, Engines(), ShadowSamplers())
    world.calls(40, old=0.9, new=0.9)
    world.calls(200, old=0.9, new=0.0, weight=1.0, user="grumpy")
    controller.tick()
    page = world.page
    assert page.rollout.state == "running"
    assert page.now is not None
    assert page.now.scores[0].canary_answers < 40


def test_failures_of_the_release_roll_back_and_one_dead_engine_does_not(kernel: Kernel, tmp_path: Path) -> None:
    world = World(kernel, tmp_path, [{"weight": 50}, {"analysis": SCORED | {"min_answers": 1000}}])
    engines = Engines()
    controller = RolloutController(kernel, engines, ShadowSamplers(), store_every_s=0)
    world.calls(100, old=0.9, new=0.9)
    controller.tick()
    died = {"status": "error", "payload": SpanPayload(attributes={"error.type": "engine_died"})}
    world.calls(12, old=0.9, new=0.9, weight=1.0, **died)
    engines.died = 1
    controller.tick()
    page = world.page
    assert page.now is not None
    assert (page.rollout.state, page.now.infrastructure.incidents, page.now.infrastructure.deaths) == ("running", 1, 1)
    world.calls(40, old=0.9, new=0.9, status="error", payload=SpanPayload(attributes={"error.type": "engine_refused"}))
    controller.tick()
    assert world.page.rollout.state == "rolled_back", world.page.now.model_dump_json()
    assert "errors is beyond its tolerance" in (world.page.rollout.reason or "")


ERRORS = [{"weight": 50}, {"analysis": {"errors": {"tolerance": 0.02}, "min_answers": 1000}}]


def _failure(code: str, http_status: int) -> dict[str, Any]:
    attributes = {"error.type": code, "tidemill.http_status": http_status}
    return {"status": "error", "payload": SpanPayload(attributes=attributes)}


def test_a_callers_own_bad_requests_are_not_the_releases_errors(kernel: Kernel, tmp_path: Path) -> None:
    world = World(kernel, tmp_path, ERRORS)
    controller = RolloutController(kernel, Engines(), ShadowSamplers(), store_every_s=0)
    world.calls(60, old=1, new=1)
    controller.tick()
    before = world.page.now
    world.calls(60, old=1, new=1, weight=1.0, **_failure("invalid_request", 400))
    world.calls(60, old=1, new=1, weight=1.0, session="long", **_failure("context_too_long", 400))
    controller.tick()
    page = world.page
    assert page.rollout.state == "running"
    assert page.now is not None
    assert before is not None
    assert (page.now.canary_answers, page.now.tolerances) == (before.canary_answers, before.tolerances)


def test_one_session_that_fails_often_counts_once(kernel: Kernel, tmp_path: Path) -> None:
    world = World(kernel, tmp_path, ERRORS)
    controller = RolloutController(kernel, Engines(), ShadowSamplers())
    world.calls(60, old=1, new=1)
    world.calls(60, old=1, new=1, weight=1.0, session="unlucky", **_failure("engine_refused", 500))
    controller.tick()
    assert world.page.rollout.state == "running"
    world.calls(60, old=1, new=1, **_failure("engine_refused", 500))
    controller.tick()
    assert world.page.rollout.state == "rolled_back"


def test_a_slow_release_is_rolled_back(kernel: Kernel, tmp_path: Path) -> None:
    steps = [{"weight": 50}, {"analysis": {"latency_ms": {"tolerance": 0.25}, "min_answers": 1000}}]
    world = World(kernel, tmp_path, steps)
    world.calls(100, old=1, new=1, duration_ns=3 * SECOND)
    RolloutController(kernel, Engines(), ShadowSamplers()).tick()
    assert "latency_ms is beyond" in (world.page.rollout.reason or "")


def test_calls_that_a_busy_mirror_skipped_are_counted_through_restarts(kernel: Kernel, tmp_path: Path) -> None:
    steps = [{"shadow": {"share": 100}}, {"analysis": {"min_answers": 1000, "max_duration": "2h"}}]
    world = World(kernel, tmp_path, steps, "shadow")

    rollout = world.page.rollout
    assert rollout.baseline_deployment_id is not None
    split = TrafficSplit(rollout.id, rollout.baseline_deployment_id, rollout.deployment_id, weight=0)

    def skip(samplers: ShadowSamplers, count: int, concurrency: int) -> None:
        """Let a sampler with these terms skip `count` calls, as every engine is busy."""
        samplers.select([replace(split, shadow=ShadowTerms(100, concurrency))], lambda split: None)
        sampler = samplers.get(rollout.id)
        assert sampler is not None
        for number in range(count):
            sampler.offer(f"chatcmpl-{number}", None)  # type: ignore[arg-type]

    def counted() -> int:
        now = world.page.now
        assert now is not None
        assert now.shadow is not None
        return now.shadow.skipped

    first = ShadowSamplers()
    controller = RolloutController(kernel, Engines(), first, store_every_s=0)
    for count, concurrency, expected in ((3, 1, 3), (4, 2, 7)):  # the second sampler of one server
        skip(first, count, concurrency)
        controller.tick()
        assert counted() == expected
    second = ShadowSamplers()
    controller = RolloutController(kernel, Engines(), second, store_every_s=0)
    controller.tick()
    assert counted() == 7
    skip(second, 4, 1)
    controller.tick()
    assert counted() == 11


def test_pairs_that_the_database_refuses_are_stored_later_and_once(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [{"shadow": {"share": 100}}, {"analysis": {"min_answers": 1000, "max_duration": "2h"}}]
    world = World(kernel, tmp_path, steps, "shadow")
    rollout = world.page.rollout
    assert rollout.baseline_deployment_id is not None
    split = TrafficSplit(rollout.id, rollout.baseline_deployment_id, rollout.deployment_id, weight=0)
    samplers = ShadowSamplers()
    samplers.select([replace(split, shadow=ShadowTerms(100, 1))], lambda split: None)
    sampler = samplers.get(rollout.id)
    assert sampler is not None

    def copy(number: int) -> None:
        fields: dict[str, Any] = {"user": None, "session": None, "error": None, "usage": Usage()}
        result = ShadowResult(f"chatcmpl-{number}", (), live="Oslo", live_ms=1.0, text="Oslo", ms=1.0, **fields)
        monkeypatch.setattr(sampler, "drain", lambda: [result])

    controller = RolloutController(kernel, Engines(), samplers, store_every_s=0)
    insert = rollouts.insert_pairs

    def refuse(ctx: object, pairs: object) -> None:
        raise StorageFull("The disk is full.")

    monkeypatch.setattr(rollouts, "insert_pairs", refuse)
    copy(1)
    controller.tick()
    monkeypatch.setattr(rollouts, "insert_pairs", insert)
    copy(2)
    controller.tick()
    monkeypatch.setattr(sampler, "drain", list)
    controller.tick()
    with kernel.read(OWNER) as ctx:
        assert sorted(p.call_id for p in rollouts.list_pairs(ctx, rollout.id).items) == ["chatcmpl-1", "chatcmpl-2"]
    evidence = world.page.now
    assert evidence is not None
    assert evidence.shadow is not None
    assert evidence.shadow.pairs == 2


def test_scores_that_are_not_read_again_are_not_remembered(kernel: Kernel, tmp_path: Path) -> None:
    world = World(kernel, tmp_path, STEPS)
    world.calls(40, old=1, new=1)
    observations = Observations(world.page.rollout)
    with kernel.read(OWNER) as ctx:
        assert len(list(observations.scores(ctx))) == 40
        later = replace(ctx, now=ctx.now + timedelta(minutes=1))
        assert list(observations.scores(later)) == []
        assert len(observations._seen) <= 1
        assert list(observations.scores(later)) == []


def test_an_erased_users_mirrored_calls_go_with_the_traces(kernel: Kernel, tmp_path: Path) -> None:
    steps = [{"shadow": {"share": 100}}, {"analysis": {"min_answers": 1000, "max_duration": "2h"}}]
    world = World(kernel, tmp_path, steps, "shadow")
    store(kernel, answer(1, user="ada"), answer(2, user="bob"))
    fields: dict[str, Any] = {"input": [], "live": "Oslo", "shadow": "Oslo", "verdict": 1.0, "live_ms": 1.0}
    fields |= {"shadow_ms": 1.0, "tokens": 3, "cost_usd": None, "error": None, "rollout_id": world.id}
    with kernel.write(OWNER) as ctx:
        made = [ShadowPair(id=f"shp_{n}", call_id=f"chatcmpl-{n}", at=ctx.now, **fields) for n in (1, 2)]
        rollouts.insert_pairs(ctx, made)
    with kernel.read(OWNER) as ctx:
        assert erasure.footprint(ctx, "ada").copies == 1
    assert erasure.erase(kernel, OWNER, "ada").copies == 1
    with kernel.read(OWNER) as ctx:
        assert list(rollouts.iterate_pairs(ctx, world.id)) == [made[1]]
