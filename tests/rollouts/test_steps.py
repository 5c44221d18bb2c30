"""Rollouts step by step, on SQLite and on PostgreSQL: the evidence is given, the engines are imagined."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.deployments.test_service import live
from tests.releases.makers import ANNA, make_release
from tidemill.core import events
from tidemill.core.actors import SYSTEM
from tidemill.core.kernel import Context
from tidemill.deployments import assignment, service, store
from tidemill.deployments.types import DeploymentCreate, ForceNotAllowed, NotCleared, PromotionOutOfOrder, Rollback
from tidemill.rollouts import decisions, plan
from tidemill.rollouts import service as rollouts
from tidemill.rollouts.types import (
    Infrastructure,
    NothingToRollOut,
    Rollout,
    RolloutActive,
    RolloutCreate,
    RolloutEnded,
    RolloutEvidence,
    RolloutMove,
    RolloutPlanInvalid,
    ScoreEvidence,
    ToleranceEvidence,
)

ANALYSIS = {"analysis": {"scores": [{"name": "accuracy"}], "min_answers": 20, "max_duration": "1m", "errors": None}}
STEPS = [{"weight": 10}, ANALYSIS, {"pause": "30s"}, {"weight": 50}, {"pause": {}}]
NOTE = RolloutMove(note="because")


def begun(ctx: Context, folder: Path, steps: list[Any] | None = None, **more: object) -> Rollout:
    """hello@2 on its way into dev, where hello@1 is live."""
    make_release(ctx, folder)
    make_release(ctx, folder, sampling={"temperature": 0.1})
    live(ctx, "hello@1")
    body = {"release": "hello@2", "environment": "dev", "steps": steps or STEPS, **more}
    made = rollouts.start(ctx, RolloutCreate.model_validate(body))
    service.go_live(ctx, made.deployment_id)
    return rollouts.get(ctx, made.id)


def seen(ctx: Context, answers: int = 0, *, worse: float = 0, good: float = 0, deaths: int = 0) -> RolloutEvidence:
    """Evidence on the score accuracy."""
    score = ScoreEvidence(
        name="accuracy",
        direction="higher",
        margin=0.05,
        baseline_answers=9 * answers,
        canary_answers=answers,
        baseline_mean=0.8,
        canary_mean=0.6 if worse else 0.8,
        difference=-0.2 if worse else 0.0,
        low=-0.3,
        high=0.1,
        worse=worse,
        good_enough=good,
        needed=20,
    )
    machine = Infrastructure(retried=0, incidents=0, deaths=deaths, fallbacks=0)
    return RolloutEvidence(
        at=ctx.now,
        baseline_answers=9 * answers,
        canary_answers=answers,
        units=answers,
        scores=[score],
        infrastructure=machine,
    )


def step(ctx: Context, rollout: Rollout, evidence: RolloutEvidence, after: float = 0.0) -> Rollout:
    """One look of the controller, `after` seconds later."""
    decision = decisions.decide(rollout, evidence, ctx.now + timedelta(seconds=after))
    return rollouts.advance(Context(ctx.conn, SYSTEM, ctx.kernel), rollout, decision, evidence)


def test_it_goes_on_by_itself_and_a_person_ends_an_open_pause(ctx: Context, tmp_path: Path) -> None:
    made = begun(ctx, tmp_path)
    assert (made.state, made.step, made.weight) == ("running", 1, 10)
    assert step(ctx, made, seen(ctx, 10, good=50)).step == 1  # too few answers
    assert step(ctx, made, seen(ctx, 30, good=5)).step == 1  # too little proof
    made = step(ctx, made, seen(ctx, 30, good=25))
    assert (made.step, made.weight) == (2, 10)
    assert step(ctx, made, seen(ctx, 31), after=20).step == 2
    made = step(ctx, made, seen(ctx, 31), after=60)
    assert (made.step, made.weight, made.state) == (4, 50, "paused")
    with pytest.raises(RolloutActive, match="hello@2 is being rolled out"):
        service.deploy(ctx, DeploymentCreate(release="hello@1", environment="dev", replicas=2))
    done = rollouts.resume(ctx, made.id, NOTE)
    assert (done.state, done.weight) == ("promoted", 100)
    states = {d.release: d.state for d in service.list_deployments(ctx).items}
    assert states == {"hello@1": "superseded", "hello@2": "live"}
    moves = [s.move for s in rollouts.get_page(ctx, done.id).history]
    assert moves == [
        "ordered",
        "began",
        "weight",
        "analysis",
        "passed",
        "pause",
        "weight",
        "pause",
        "resumed",
        "promoted",
    ]
    passed = rollouts.get_page(ctx, done.id).history[4]
    assert "accuracy 0.8 against 0.8 (e-value 25)" in passed.reason
    assert passed.evidence is not None
    assert (passed.evidence.canary_answers, passed.actor) == (30, "system")
    told = events.list_events(ctx.conn, subject=done.release_id, kind="release.promoted")
    assert told[0].data["rollout"] == done.id


def test_proof_of_harm_rolls_back_even_while_it_is_paused(ctx: Context, tmp_path: Path) -> None:
    made = rollouts.pause(ctx, begun(ctx, tmp_path).id, NOTE)
    assert step(ctx, made, seen(ctx, 30, worse=19)).state == "paused"
    back = step(ctx, made, seen(ctx, 31, worse=21))
    assert (back.state, back.weight) == ("rolled_back", 0)
    assert "accuracy is worse: 0.6 against 0.8" in (back.reason or "")
    states = {d.release: d.state for d in service.list_deployments(ctx).items}
    assert states == {"hello@1": "live", "hello@2": "rolled_back"}
    fact = events.list_events(ctx.conn, subject=back.release_id, kind="release.rolled_back")[0]
    assert fact.data["evidence"]["scores"][0]["worse"] == 21
    with pytest.raises(RolloutEnded):
        rollouts.promote(ctx, back.id, NOTE)


def test_without_a_verdict_in_time_it_does_what_the_plan_says(ctx: Context, tmp_path: Path) -> None:
    made = begun(ctx, tmp_path)
    held = step(ctx, made, seen(ctx, 30, good=3), after=61)
    assert held.state == "held"
    assert "is not proven" in (held.reason or "")
    assert rollouts.resume(ctx, held.id, NOTE).state == "running"
    assert rollouts.promote(ctx, held.id, NOTE).state == "promoted"
    for otherwise, action in (("promote", "next"), ("rollback", "rollback")):
        steps = [{"weight": 10}, {"analysis": ANALYSIS["analysis"] | {"otherwise": otherwise}}]
        body = RolloutCreate.model_validate({"release": "hello", "environment": "dev", "steps": steps})
        other = made.model_copy(update={"steps": body.steps, "step": 1})
        assert decisions.decide(other, seen(ctx, 5), ctx.now + timedelta(seconds=61)).action == action


def test_dying_engines_roll_back_only_beyond_what_is_allowed(ctx: Context, tmp_path: Path) -> None:
    made = begun(ctx, tmp_path)
    assert step(ctx, made, seen(ctx, 30, deaths=2)).state == "running"
    assert "died" in (step(ctx, made, seen(ctx, 30, deaths=3)).reason or "")


def test_latency_beyond_its_tolerance(ctx: Context, tmp_path: Path) -> None:
    made = begun(ctx, tmp_path)
    slow = ToleranceEvidence(name="latency_ms", tolerance=0.25, baseline=100, canary=140, worse=3, needed=40)
    waiting = seen(ctx, 30, good=30).model_copy(update={"tolerances": [slow]})
    assert step(ctx, made, waiting).step == 1
    proven = waiting.model_copy(update={"tolerances": [slow.model_copy(update={"worse": 41})]})
    assert "latency_ms is beyond its tolerance" in (step(ctx, made, proven).reason or "")


def test_rollback_and_stop_end_a_rollout(ctx: Context, tmp_path: Path) -> None:
    made = begun(ctx, tmp_path)
    with pytest.raises(RolloutActive, match="goes back to"):
        service.stop(ctx, made.baseline_deployment_id or "")
    back = service.rollback(ctx, "dev", Rollback())
    assert (back.release, back.state) == ("hello@1", "live")
    assert rollouts.get(ctx, made.id).state == "aborted"
    again = rollouts.start(ctx, RolloutCreate(release="hello@2", environment="dev"))
    service.fail(ctx, again.deployment_id, "corrupt")
    assert (rollouts.get(ctx, again.id).state, rollouts.get(ctx, again.id).reason) == ("failed", "corrupt")
    last = rollouts.start(ctx, RolloutCreate(release="hello@2", environment="dev"))
    service.stop(ctx, last.deployment_id)
    assert rollouts.get(ctx, "dev/hello").state == "aborted"


def test_the_rules_of_an_environment_hold_for_rollouts(ctx: Context, tmp_path: Path) -> None:
    make_release(ctx, tmp_path)
    with pytest.raises(PromotionOutOfOrder):
        rollouts.start(ctx, RolloutCreate(release="hello", environment="qa"))
    live(ctx, "hello")
    live(ctx, "hello", "qa")
    with pytest.raises(NotCleared):
        rollouts.start(ctx, RolloutCreate(release="hello", environment="prod"))
    forced = RolloutCreate(release="hello", environment="prod", force_reason="a test of the canary")
    with pytest.raises(ForceNotAllowed):
        rollouts.start(Context(ctx.conn, ANNA, ctx.kernel), forced)
    first = rollouts.start(ctx, forced)
    service.go_live(ctx, first.deployment_id)
    # Nothing answered before, so there is nothing to compare with.
    assert (rollouts.get(ctx, first.id).state, store.list_active(ctx.conn, "prod")[0].state) == ("promoted", "live")
    with pytest.raises(NothingToRollOut):
        rollouts.start(ctx, forced)
    make_release(ctx, tmp_path, sampling={"temperature": 0.1})
    second = rollouts.start(ctx, RolloutCreate(release="hello", environment="prod", force_reason="again"))
    service.go_live(ctx, second.deployment_id)
    # Force passes over the gate, never over the canary.
    assert (rollouts.get(ctx, second.id).state, rollouts.get(ctx, second.id).weight) == ("running", 10)


def test_what_answered_is_told_with_shares(ctx: Context, tmp_path: Path) -> None:
    made = begun(ctx, tmp_path)
    now = [(a.release, a.share) for a in service.list_serving_at(ctx, ctx.now, environment="dev").items]
    assert now == [("hello@1", 90), ("hello@2", 10)]
    later = Context(ctx.conn, ctx.actor, ctx.kernel, now=ctx.now + timedelta(minutes=5))
    rollouts.abort(later, made.id, NOTE)
    assert [a.share for a in service.list_serving_at(ctx, ctx.now + timedelta(minutes=1)).items] == [90, 10]
    assert [a.release for a in service.list_serving_at(ctx, later.now).items] == ["hello@1"]
    assert service.list_serving_at(ctx, ctx.now - timedelta(minutes=1)).items == []


def test_blue_green_switches_at_once_and_keeps_the_old_one_warm(ctx: Context, tmp_path: Path) -> None:
    make_release(ctx, tmp_path)
    make_release(ctx, tmp_path, sampling={"temperature": 0.1})
    live(ctx, "hello@1", replicas=3)
    body = RolloutCreate.model_validate(
        {"release": "hello@2", "environment": "dev", "strategy": "blue_green", "warm": "5m"}
    )
    made = rollouts.start(ctx, body)
    assert service.get(ctx, made.deployment_id).replicas == 3  # the whole second fleet
    service.go_live(ctx, made.deployment_id)
    switched = rollouts.get(ctx, made.id)
    assert (switched.weight, service.get(ctx, made.baseline_deployment_id or "").state) == (100, "live")
    assert step(ctx, switched, seen(ctx), after=299).state == "running"
    assert step(ctx, switched, seen(ctx), after=301).state == "promoted"


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{"weight": 50}, {"weight": 10}, {"pause": 1}], "only goes up"),
        ([{"weight": 10}], "would become 100% at once"),
        ([{"shadow": {}}, {"weight": 10}, ANALYSIS, {"analysis": {"scores": [{"name": "accuracy", "margin": 0.2}]}}],
         "different things of the score 'accuracy'"),
        ([ANALYSIS, {"analysis": {"errors": {"tolerance": 0.5}}}, {"analysis": {}}], "0.02, 0.5"),
    ],
)  # fmt: skip
def test_plans_that_make_no_sense(steps: list[Any], message: str) -> None:
    body = RolloutCreate.model_validate({"release": "hello", "environment": "dev", "steps": steps})
    with pytest.raises(RolloutPlanInvalid, match=message):
        plan.resolve_steps(body)


@pytest.mark.parametrize("step", [{"wait": 3}, {"pause": "soon"}, {"weight": 120}, {"weight": 10, "pause": "1m"}])
def test_steps_that_cannot_be_read(step: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="step"):
        RolloutCreate.model_validate({"release": "hello", "environment": "dev", "steps": [step]})


def test_a_user_stays_in_the_canary_when_it_grows() -> None:
    users = [f"user {n}" for n in range(4000)]
    at = {w: {u for u in users if assignment.in_share("roll_1", u, w)} for w in (0, 10, 50, 100)}
    assert at[0] < at[10] < at[50] < at[100] == set(users)
    assert abs(len(at[10]) - 400) < 80
    other = {u for u in users if assignment.in_share("roll_2", u, 10)}
    assert len(other & at[10]) < 80


def test_infrastructure_has_the_field_of_0_1_0_for_one_release() -> None:
    counts = Infrastructure(retried=0, incidents=1, deaths=2, fallbacks=3)
    sent = counts.model_dump(mode="json")
    assert (sent["fallbacks"], sent["spilled"]) == (3, 3)
    assert Infrastructure.model_validate(sent) == counts
    stored = {"retried": 0, "incidents": 1, "deaths": 2, "spilled": 3}
    assert Infrastructure.model_validate(stored) == counts
