"""Two people decide, and everything is kept; on SQLite and on PostgreSQL."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.releases.makers import ANNA, BERT, declare, make_release, make_run, make_set
from tidemill.core import events, lineage
from tidemill.core.kernel import Context
from tidemill.releases import service
from tidemill.releases.types import (
    Approval,
    ApprovalClosed,
    ApprovalDecision,
    ApprovalNotFound,
    ApprovalPending,
    ApprovalRequest,
    GateEvaluate,
    OverrideNeeded,
    Release,
    SelfApproval,
)


@pytest.fixture
def release(ctx: Context, tmp_path: Path) -> Release:
    return make_release(ctx, tmp_path)


def ask(ctx: Context, environment: str = "prod", **more: object) -> Approval:
    body = ApprovalRequest.model_validate({"release": "hello", "environment": environment, **more})
    return service.request_approval(replace(ctx, actor=ANNA), body)


def decide(ctx: Context, approval: Approval, decision: str = "approve", **more: object) -> Approval:
    body = ApprovalDecision.model_validate({"decision": decision, "reason": "looked at it", **more})
    return service.decide_approval(replace(ctx, actor=BERT), approval.id, body)


def judge(ctx: Context, right: int) -> str:
    eval_set = make_set(ctx, f"set-{right}")
    declare(ctx, eval_set, name=f"gate-{right}")
    runs = make_run(ctx, eval_set, 56).id, make_run(ctx, eval_set, right, release="hello@1").id
    body = GateEvaluate(release="hello", gate=f"gate-{right}", baseline_run=runs[0], candidate_run=runs[1])
    return service.evaluate_gate(ctx, body).verdict


def test_a_passed_gate_and_another_person_clear_the_way(ctx: Context, release: Release) -> None:
    assert not service.check_clearance(ctx, "hello", "prod").allowed
    assert judge(ctx, 100) == "pass"
    approval = ask(ctx, note="better than the base")
    assert (approval.state, approval.verdict, approval.release_hash) == ("pending", "pass", release.content_hash)
    waiting = service.check_clearance(ctx, "hello", "prod")
    assert len(waiting.reasons) == 1
    assert "waits" in waiting.reasons[0]
    done = decide(ctx, approval)
    assert (done.state, done.decided_by_name, done.reason, done.override) == ("approved", "bert", "looked at it", None)
    cleared = service.check_clearance(ctx, "hello", "prod")
    assert (cleared.allowed, cleared.reasons, cleared.approval) == (True, [], done)
    kinds = [e.kind for e in events.list_events(ctx.conn, subject=release.id)]
    assert kinds[:3] == ["approval.approved", "approval.requested", "gate.evaluated"]
    below = lineage.walk(ctx.conn, release.id, "down")
    assert below is not None
    assert {n.kind for n in below.nodes} >= {"release", "gate_result", "approval"}


def test_dev_and_qa_ask_for_nothing_and_an_unknown_environment_for_everything(ctx: Context, release: Release) -> None:
    assert service.check_clearance(ctx, release.id, "dev").allowed
    assert service.check_clearance(ctx, release.id, "qa").allowed
    assert len(service.check_clearance(ctx, release.id, "moon").reasons) == 2


def test_the_requester_cannot_approve_but_may_withdraw(ctx: Context, release: Release) -> None:
    judge(ctx, 100)
    approval = ask(ctx)
    body = ApprovalDecision(decision="approve", reason="mine is fine")
    with pytest.raises(SelfApproval) as caught:
        service.decide_approval(replace(ctx, actor=ANNA), approval.id, body)
    assert caught.value.code == "self_approval"
    assert service.get_approval(ctx, approval.id).state == "pending"
    withdrawn = service.decide_approval(
        replace(ctx, actor=ANNA), approval.id, ApprovalDecision(decision="reject", reason="found a fault")
    )
    assert withdrawn.state == "rejected"


@pytest.mark.parametrize("right", [None, 30, 64])
def test_approving_without_a_pass_needs_an_override(ctx: Context, release: Release, right: int | None) -> None:
    verdict = judge(ctx, right) if right is not None else None
    approval = ask(ctx)
    with pytest.raises(OverrideNeeded) as caught:
        decide(ctx, approval)
    assert caught.value.details is not None
    assert caught.value.details["verdict"] == verdict
    done = decide(ctx, approval, override="the old one leaks data")
    assert (done.override, done.verdict) == ("the old one leaks data", verdict)
    assert service.check_clearance(ctx, "hello", "prod").allowed


def test_an_override_does_not_hold_for_a_worse_verdict_that_comes_later(ctx: Context, release: Release) -> None:
    assert judge(ctx, 64) == "inconclusive"
    decide(ctx, ask(ctx), override="urgent")
    assert judge(ctx, 30) == "fail"
    cleared = service.check_clearance(ctx, "hello", "prod")
    assert not cleared.allowed
    assert "fail" in cleared.reasons[0]


def test_an_override_does_not_hold_for_the_same_word_of_a_later_gate(ctx: Context, release: Release) -> None:
    assert judge(ctx, 30) == "fail"
    decide(ctx, ask(ctx), override="urgent")
    assert service.check_clearance(ctx, "hello", "prod").allowed
    assert judge(ctx, 100) == "pass"
    assert service.check_clearance(ctx, "hello", "prod").allowed, "what the approver saw is all that is left to say"
    assert judge(ctx, 31) == "fail"
    assert not service.check_clearance(ctx, "hello", "prod").allowed


def test_a_rejection_is_kept_and_one_may_ask_again(ctx: Context, release: Release) -> None:
    judge(ctx, 100)
    first = decide(ctx, ask(ctx), "reject")
    assert "looked at it" in service.check_clearance(ctx, "hello", "prod").reasons[0]
    with pytest.raises(ApprovalClosed, match="rejected"):
        decide(ctx, first)
    second = ask(ctx)
    assert second.id != first.id
    decide(ctx, second)
    found = service.list_approvals(ctx, release="hello").items
    assert [a.state for a in found] == ["approved", "rejected"]


def test_a_later_rejection_ends_an_approval_and_a_later_approval_a_rejection(ctx: Context, release: Release) -> None:
    assert judge(ctx, 100) == "pass"
    decide(ctx, ask(ctx))
    assert service.check_clearance(ctx, "hello", "prod").allowed

    later = replace(ctx, now=ctx.now + timedelta(minutes=5))
    decide(later, ask(later), "reject", reason="it swears in Welsh")
    refused = service.check_clearance(later, "hello", "prod")
    assert not refused.allowed
    assert refused.reasons == ["bert rejected it: it swears in Welsh"]

    ask(later)  # a request alone changes nothing
    assert service.check_clearance(later, "hello", "prod").reasons == ["bert rejected it: it swears in Welsh"]
    again = replace(ctx, now=ctx.now + timedelta(minutes=9))
    decide(again, ask(again))
    assert service.check_clearance(again, "hello", "prod").allowed


def test_an_approval_that_lapsed_ends_no_longer_one_before_it(ctx: Context, release: Release) -> None:
    assert judge(ctx, 100) == "pass"
    first = decide(ctx, ask(ctx, valid_hours=1000))
    later = replace(ctx, now=ctx.now + timedelta(minutes=5))
    second = decide(later, ask(later, valid_hours=1))

    def cleared(hours: int) -> tuple[bool, str]:
        clearance = service.check_clearance(replace(ctx, now=ctx.now + timedelta(hours=hours)), "hello", "prod")
        assert clearance.approval is not None
        return clearance.allowed, clearance.approval.id

    assert cleared(1) == (True, second.id)
    assert cleared(2) == (True, first.id)
    assert cleared(1001) == (False, second.id)
    rejected = replace(ctx, now=ctx.now + timedelta(hours=3))
    decide(rejected, ask(rejected), "reject")
    again = replace(ctx, now=ctx.now + timedelta(hours=4))
    third = decide(again, ask(again, valid_hours=1))
    assert cleared(4) == (True, third.id)
    assert cleared(6) == (False, third.id), "the rejection had ended the first"


def test_asking_again_gives_the_open_request_and_others_are_told(ctx: Context, release: Release) -> None:
    approval = ask(ctx)
    assert ask(ctx).id == approval.id
    body = ApprovalRequest(release="hello")
    with pytest.raises(ApprovalPending, match="anna"):
        service.request_approval(replace(ctx, actor=BERT), body)
    assert ask(ctx, "qa").id != approval.id


def test_requests_and_approvals_lapse(ctx: Context, release: Release) -> None:
    judge(ctx, 100)
    approval = ask(ctx, valid_hours=2)
    later = replace(ctx, now=ctx.now + timedelta(hours=3))
    with pytest.raises(ApprovalClosed, match="expired"):
        decide(later, approval)
    decide(ctx, approval)
    assert service.check_clearance(ctx, "hello", "prod").allowed
    lapsed = service.check_clearance(later, "hello", "prod")
    assert not lapsed.allowed
    assert "lapsed" in lapsed.reasons[0]
    assert service.get_approval(later, approval.id).state == "expired"
    assert ask(later).id != approval.id


def test_an_unknown_approval_is_said(ctx: Context) -> None:
    with pytest.raises(ApprovalNotFound):
        service.get_approval(ctx, "apr_0")


def test_the_evidence_page_tells_everything(ctx: Context, release: Release) -> None:
    judge(ctx, 100)
    decide(ctx, ask(ctx, note="ready | set"))
    page = service.render_evidence(ctx, "hello").markdown
    wanted = [
        "# Evidence for hello@1",
        release.content_hash,
        release.manifest.model.files[0].hash,
        "gate-100@1: pass",
        "Smallest difference it can see",
        "| accuracy | primary |",
        "| output_tokens | guardrail |",
        "prod: approved",
        "looked at it",
        "ready \\| set",
        "model version tiny@1",
        "A base taken as is.",
    ]
    assert [w for w in wanted if w not in page] == []
