"""A release on its way to prod: order, gate, another person, and no other way around; on both databases."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.releases.makers import ANNA, BERT, declare, make_release, make_run, make_set
from tidemill.core import lineage
from tidemill.core.kernel import Context
from tidemill.deployments import service
from tidemill.deployments.types import Deployment, DeploymentCreate, NotCleared, PromotionOutOfOrder, Rollback
from tidemill.releases import service as releases
from tidemill.releases.types import ApprovalDecision, ApprovalRequest, GateEvaluate


def deploy(ctx: Context, release: str, environment: str) -> Deployment:
    """Ordered by a developer, brought about by the supervisor."""
    ordered = service.deploy(replace(ctx, actor=ANNA), DeploymentCreate(release=release, environment=environment))
    live = service.go_live(ctx, ordered.id)
    assert live is not None
    return live


def judge(ctx: Context, release: str, right: int) -> None:
    eval_set = make_set(ctx, f"set-{right}")
    gate = declare(ctx, eval_set, name=f"gate-{right}")
    baseline, candidate = make_run(ctx, eval_set, 56), make_run(ctx, eval_set, right, release=release)
    body = GateEvaluate(release=release, gate=gate.name, baseline_run=baseline.id, candidate_run=candidate.id)
    releases.evaluate_gate(ctx, body)


def approve(ctx: Context, release: str, decision: str = "approve") -> str:
    asked = releases.request_approval(
        replace(ctx, actor=ANNA), ApprovalRequest.model_validate({"release": release, "environment": "prod"})
    )
    body = ApprovalDecision.model_validate({"decision": decision, "reason": "looked at it"})
    return releases.decide_approval(replace(ctx, actor=BERT), asked.id, body).id


def refused(ctx: Context, release: str) -> list[str]:
    with pytest.raises(NotCleared) as caught:
        deploy(ctx, release, "prod")
    reasons: list[str] = (caught.value.details or {})["reasons"]
    return reasons


def test_a_release_reaches_prod_by_its_gate_and_another_persons_approval(ctx: Context, tmp_path: Path) -> None:
    make_release(ctx, tmp_path)
    judge(ctx, "hello@1", 100)
    approval = approve(ctx, "hello@1")
    with pytest.raises(PromotionOutOfOrder):  # cleared, but never seen in qa
        deploy(ctx, "hello@1", "prod")
    for environment in ("dev", "qa"):
        deploy(ctx, "hello@1", environment)
    live = deploy(ctx, "hello@1", "prod")
    assert (live.state, live.approval_id, live.forced, live.requested_by) == ("live", approval, None, "anna")
    walked = lineage.walk(ctx.conn, live.id, "up")
    assert walked is not None
    assert live.release_id in {node.id for node in walked.nodes}


def test_each_lock_of_prod_holds_by_itself(ctx: Context, tmp_path: Path) -> None:
    make_release(ctx, tmp_path)
    for environment in ("dev", "qa"):
        deploy(ctx, "hello@1", environment)
    assert len(refused(ctx, "hello@1")) == 2
    judge(ctx, "hello@1", 100)
    (waits,) = refused(ctx, "hello@1")
    assert "approv" in waits
    approve(ctx, "hello@1", "reject")
    assert len(refused(ctx, "hello@1")) == 1
    approve(ctx, "hello@1")
    judge(ctx, "hello@1", 30)  # a later gate fails: the approval that saw another verdict does not outweigh it
    assert any("fail" in reason for reason in refused(ctx, "hello@1"))


def test_what_was_cleared_once_comes_back_by_rollback_without_being_asked(ctx: Context, tmp_path: Path) -> None:
    for number, sampling in ((1, {}), (2, {"temperature": 0.1})):
        make_release(ctx, tmp_path, sampling=sampling)
        judge(ctx, f"hello@{number}", 99 + number)
        approve(ctx, f"hello@{number}")
        for environment in ("dev", "qa", "prod"):
            deploy(ctx, f"hello@{number}", environment)
    back = service.go_live(ctx, service.rollback(replace(ctx, actor=ANNA), "prod", Rollback(note="worse")).id)
    assert back is not None
    assert (back.release, back.kind, back.state) == ("hello@1", "rollback", "live")
