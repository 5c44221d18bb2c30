"""An approval that is withdrawn or has lapsed stops the next promotion, and what is live is named."""

from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread

import pytest
from typer.testing import CliRunner

from tests.deployments.test_service import live, order
from tests.releases.makers import BERT, make_release
from tests.releases.test_approvals import ask, decide
from tests.rollouts.test_interleaving import evidence
from tidemill.cli import app
from tidemill.client import Client
from tidemill.core import events
from tidemill.core.actors import OWNER
from tidemill.core.errors import TidemillError
from tidemill.core.kernel import Context, Kernel
from tidemill.core.settings import Settings
from tidemill.deployments import service as deployments
from tidemill.deployments.types import NotCleared, Rollback
from tidemill.releases import service
from tidemill.releases.types import Approval, ApprovalClosed, ApprovalWithdrawal
from tidemill.rollouts import service as rollouts
from tidemill.rollouts.decisions import Decision
from tidemill.rollouts.types import RolloutCreate, RolloutMove
from tidemill.server.app import build_kernel


def approve(ctx: Context, release: str = "hello", **more: object) -> Approval:
    return decide(ctx, ask(ctx, release=release, **more), override="there is no gate yet")


def withdraw(ctx: Context, approval: Approval, reason: str = "it swears") -> Approval:
    return service.withdraw_approval(replace(ctx, actor=BERT), approval.id, ApprovalWithdrawal(reason=reason))


@pytest.fixture
def ready(ctx: Context, tmp_path: Path) -> Context:
    """hello@1 is live everywhere; hello@2 in dev and qa."""
    make_release(ctx, tmp_path)
    make_release(ctx, tmp_path, sampling={"temperature": 0.1})
    for environment in ("dev", "qa", "prod"):
        live(ctx, "hello@1", environment, force_reason="the first")
    for environment in ("dev", "qa"):
        live(ctx, "hello@2", environment)
    return ctx


def start(ctx: Context) -> str:
    steps = [{"weight": 10}, {"pause": {}}, {"weight": 50}, {"pause": {}}]
    body = RolloutCreate.model_validate({"release": "hello@2", "environment": "prod", "steps": steps})
    return rollouts.start(ctx, body).id


def test_a_withdrawal_is_kept_and_ends_the_clearance(ready: Context) -> None:
    approval = approve(ready)
    assert service.check_clearance(ready, "hello", "prod").allowed
    done = withdraw(ready, approval)
    assert (done.state, done.withdrawn_by_name, done.withdrawn_reason) == ("withdrawn", "bert", "it swears")
    assert (done.decided_by_name, done.reason) == ("bert", "looked at it"), "the decision stays on record"
    clearance = service.check_clearance(ready, "hello", "prod")
    assert (clearance.allowed, clearance.live_since) == (False, None)
    assert clearance.reasons[0].startswith("bert withdrew the approval at 20")
    assert "it swears" in clearance.reasons[0]
    with pytest.raises(NotCleared, match="withdrew"):
        order(ready, "hello", "prod")
    for again in (lambda: withdraw(ready, approval), lambda: decide(ready, approval)):
        with pytest.raises(ApprovalClosed, match="withdrawn since"):
            again()
    assert [e.data["by"] for e in events.list_events(ready.conn, kind="approval.withdrawn")] == ["bert"]
    assert "Withdrawn" in service.render_evidence(ready, "hello").markdown
    later = replace(ready, now=ready.now + timedelta(minutes=5))
    approve(later)
    assert service.check_clearance(later, "hello", "prod").allowed, "it may be approved anew"


def test_a_request_that_is_taken_back_ends_no_earlier_approval(ready: Context) -> None:
    approve(ready)
    withdraw(ready, ask(ready))
    assert service.check_clearance(ready, "hello", "prod").allowed


def test_what_is_live_is_named_and_stays(ready: Context) -> None:
    approval = approve(ready)
    deployment = live(ready, "hello", "prod")
    assert deployment.state == "live"
    withdraw(ready, approval)
    clearance = service.check_clearance(ready, "hello", "prod")
    assert clearance.live_since == deployment.live_at
    assert f"It is live in prod since {deployment.live_at:%Y-%m-%d %H:%M} UTC" in clearance.reasons[0]
    assert "tidemill rollback prod --name hello" in clearance.reasons[0]
    assert deployments.get(ready, deployment.id).state == "live"
    back = deployments.go_live(ready, deployments.rollback(ready, "prod", Rollback(name="hello")).id)
    assert back is not None
    assert (back.state, back.release) == ("live", "hello@1"), "a rollback asks for no approval"


@pytest.mark.parametrize("how", ["withdrawn", "lapsed"])
def test_a_deployment_that_starts_does_not_go_live(ready: Context, how: str) -> None:
    approval = approve(ready, valid_hours=1)
    starting = order(ready, "hello", "prod")
    later = ready
    if how == "withdrawn":
        withdraw(ready, approval)
    else:
        later = replace(ready, now=ready.now + timedelta(hours=2))
    failed = deployments.go_live(later, starting.id)
    assert failed is not None
    assert failed.state == "failed"
    assert ("withdrew" if how == "withdrawn" else "lapsed") in str(failed.error)
    assert [d.release for d in deployments.list_active(ready, "prod", "hello")] == ["hello@1"]


def test_a_rollout_goes_no_further(ready: Context) -> None:
    approval = approve(ready)
    rollout = rollouts.get(ready, start(ready))
    deployments.go_live(ready, rollout.deployment_id)
    rollouts.resume(ready, rollout.id, RolloutMove())
    withdraw(ready, approval)
    running = rollouts.get(ready, rollout.id)
    held = rollouts.advance(ready, running, Decision("next", "Good."), evidence(ready))
    assert (held.state, held.weight) == ("held", 50)
    assert "withdrew" in str(held.reason)
    for move in (rollouts.promote, rollouts.resume):
        with pytest.raises(NotCleared, match="withdrew"):
            move(ready, rollout.id, RolloutMove())
    later = replace(ready, now=ready.now + timedelta(minutes=5))
    approve(later)
    assert rollouts.promote(later, rollout.id, RolloutMove()).state == "promoted"


def test_a_rollout_whose_engines_start_fails(ready: Context) -> None:
    approval = approve(ready)
    rollout = rollouts.get(ready, start(ready))
    withdraw(ready, approval)
    deployments.go_live(ready, rollout.deployment_id)
    after = rollouts.get(ready, rollout.id)
    assert (after.state, deployments.get(ready, rollout.deployment_id).state) == ("failed", "failed")


@pytest.mark.parametrize("first", ["withdraw", "go_live"])
def test_of_a_withdrawal_and_a_promotion_at_once_the_second_sees_the_first(
    kernel: Kernel, tmp_path: Path, first: str
) -> None:
    with kernel.write(OWNER) as ctx:
        make_release(ctx, tmp_path)
        for environment in ("dev", "qa"):
            live(ctx, "hello", environment)
        approval = approve(ctx)
        starting = order(ctx, "hello", "prod")
    acts = {
        "withdraw": lambda ctx: withdraw(ctx, approval),
        "go_live": lambda ctx: deployments.go_live(ctx, starting.id),
    }
    second = next(act for name, act in acts.items() if name != first)
    began, raised = Event(), []

    def run() -> None:
        began.set()
        try:
            with kernel.write(OWNER) as ctx:
                second(ctx)
        except TidemillError as error:
            raised.append(error)

    thread = Thread(target=run)
    with kernel.write(OWNER) as ctx:
        acts[first](ctx)
        thread.start()
        assert began.wait(10)
        thread.join(0.2)
    thread.join(30)
    assert raised == []
    with kernel.read(OWNER) as ctx:
        assert deployments.get(ctx, starting.id).state == ("failed" if first == "withdraw" else "live")
        assert service.get_approval(ctx, approval.id).state == "withdrawn"


def test_on_the_command_line_and_in_python(home: Path, tmp_path: Path) -> None:
    with closing(build_kernel(Settings(home=home))) as kernel, kernel.write(OWNER) as ctx:
        make_release(ctx, tmp_path)
        for environment in ("dev", "qa"):
            live(ctx, "hello", environment)
        approve(ctx)
        live(ctx, "hello", "prod")
    result = CliRunner().invoke(app, ["releases", "withdraw", "hello", "--reason", "it swears"])
    assert result.exit_code == 0, result.output
    for command in (result, CliRunner().invoke(app, ["releases", "show", "hello"])):
        said = " ".join(command.output.split())
        assert "withdrawn" in said
        assert "It is live in prod since" in said
        assert "tidemill rollback prod --name hello" in said
    with Client() as client:
        (approval,) = client.releases.approvals(release="hello").items
        assert approval.withdrawn_reason == "it swears"
        with pytest.raises(ApprovalClosed):
            client.releases.withdraw(approval.id, reason="again")
