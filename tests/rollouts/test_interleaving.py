"""Every pair of changes of a rollout at the same moment leaves a state that either order could have left."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.deployments.test_service import live
from tests.releases.makers import make_release
from tidemill.core import events
from tidemill.core.actors import OWNER
from tidemill.core.errors import TidemillError
from tidemill.core.kernel import Context, Kernel
from tidemill.deployments import service as deployments
from tidemill.deployments import store as deployment_rows
from tidemill.deployments.retirements import service as retirements
from tidemill.deployments.retirements.types import Retired, RetirementCreate
from tidemill.deployments.types import DeploymentCreate, NothingToRollBack, Rollback
from tidemill.rollouts import service
from tidemill.rollouts import store as rollout_rows
from tidemill.rollouts.decisions import Decision
from tidemill.rollouts.types import OPEN, Rollout, RolloutCreate, RolloutEvidence, RolloutMove

NOTE = RolloutMove(note="now")
STEPS = [{"weight": 10}, {"analysis": {"min_answers": 5}}]
Change = Callable[[Context, Rollout], object]


def evidence(ctx: Context) -> RolloutEvidence:
    """Nine answers of each release, which say nothing."""
    fields: dict[str, Any] = {"at": ctx.now, "baseline_answers": 9, "canary_answers": 9, "units": 9}
    return RolloutEvidence.model_validate(
        fields
        | {
            "scores": [],
            "tolerances": [],
            "infrastructure": {"retried": 0, "incidents": 0, "deaths": 0, "fallbacks": 0},
            "shadow": None,
        }
    )


CHANGES: dict[str, Change] = {
    "go_live": lambda ctx, rollout: deployments.go_live(ctx, rollout.deployment_id),
    "fail": lambda ctx, rollout: deployments.fail(ctx, rollout.deployment_id, "It does not start."),
    "stop": lambda ctx, rollout: deployments.stop(ctx, rollout.deployment_id),
    "deploy": lambda ctx, rollout: deployments.deploy(ctx, DeploymentCreate(release="hello@1", environment="dev")),
    "rollback": lambda ctx, rollout: deployments.rollback(ctx, "dev", Rollback(name="hello")),
    "abort": lambda ctx, rollout: service.abort(ctx, rollout.id, NOTE),
    "promote": lambda ctx, rollout: service.promote(ctx, rollout.id, NOTE),
    "pause": lambda ctx, rollout: service.pause(ctx, rollout.id, NOTE),
    "resume": lambda ctx, rollout: service.resume(ctx, rollout.id, NOTE),
    "next": lambda ctx, rollout: service.advance(ctx, rollout, Decision("next", "Good."), evidence(ctx)),
    "retire": lambda ctx, _: retirements.end_due(ctx, ctx.now + timedelta(days=2)),
    "harm": lambda ctx, rollout: service.advance(ctx, rollout, Decision("rollback", "Bad."), evidence(ctx)),
}
PAIRS = [(a, b) for a in CHANGES for b in CHANGES if a <= b]


@pytest.fixture
def slow_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Widen the time between a read of a state and the write that follows from it."""
    for module in (deployment_rows, rollout_rows):
        change = module.change_state

        def changed_later(*args: Any, change: Callable[..., bool] = change, **values: Any) -> bool:
            time.sleep(0.005)
            return change(*args, **values)

        monkeypatch.setattr(module, "change_state", changed_later)


def _at_once(kernel: Kernel, rollout: Rollout, names: tuple[str, str]) -> list[BaseException]:
    barrier, unexpected = threading.Barrier(2), []

    def run(name: str) -> None:
        barrier.wait(10)
        try:
            with kernel.write(OWNER) as ctx:
                CHANGES[name](ctx, rollout)
        except TidemillError as error:
            if error.status != 409:
                unexpected.append(error)
        except BaseException as error:  # noqa: BLE001
            unexpected.append(error)

    threads = [threading.Thread(target=run, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return unexpected


def _check(ctx: Context, rollout_id: str, retirement_id: str) -> None:
    page = service.get_page(ctx, rollout_id)
    rollout = page.rollout
    deployment = deployments.get(ctx, rollout.deployment_id)
    assert (rollout.ended_at is not None) is (rollout.state not in OPEN)
    assert (deployment.ended_at is not None) is (deployment.state not in deployment_rows.ACTIVE)
    ends = [s.move for s in page.history if s.move in ("promoted", "aborted", "rolled_back", "finished", "failed")]
    assert len(ends) == (rollout.state not in OPEN)
    if ends:
        assert page.history[0].move == ends[0] or page.history[-1].move == ends[0], "nothing happens after the end"
    expected = {"starting": "starting", "running": "canary", "paused": "canary", "held": "canary"}
    if rollout.state in expected:
        assert deployment.state == expected[rollout.state]
    elif rollout.state == "promoted":
        assert deployment.state in ("live", "superseded", "stopped")
    else:
        assert deployment.state not in deployment_rows.ACTIVE
    active = deployments.list_active(ctx, "dev", "hello")
    ended = events.list_events(ctx.conn, kind="retirement.ended", subject=retirement_id)
    assert len(ended) == (retirements.get(ctx, "dev/hello").ended_at is not None)
    assert sum(d.state == "live" for d in active) == 1 or rollout.state == "promoted" or ended


@pytest.mark.slow
@pytest.mark.parametrize("began", [False, True])
@pytest.mark.usefixtures("slow_writes")
def test_two_changes_at_once_leave_a_state_that_fits_together(kernel: Kernel, tmp_path: Path, began: bool) -> None:
    with kernel.write(OWNER) as ctx:
        make_release(ctx, tmp_path)
        make_release(ctx, tmp_path, sampling={"temperature": 0.1})
    body = RolloutCreate.model_validate({"release": "hello@2", "environment": "dev", "steps": STEPS})
    for pair in PAIRS:
        with kernel.write(OWNER) as ctx:
            for rollout in service.list_open(ctx):
                service.abort(ctx, rollout.id, NOTE)
            for deployment in deployments.list_active(ctx, "dev", "hello"):
                deployments.stop(ctx, deployment.id)
            live(ctx, "hello@1")
            rollout = service.start(ctx, body)
            sunset = ctx.now + timedelta(days=1)
            notice = RetirementCreate(name="dev/hello", sunset=sunset, successor="hello@1")
            retirement = retirements.announce(ctx, notice).items[0]
            if began:
                deployments.go_live(ctx, rollout.deployment_id)
            rollout = service.get(ctx, rollout.id)
        unexpected = _at_once(kernel, rollout, pair)
        assert not unexpected, pair
        with kernel.read(OWNER) as ctx:
            try:
                _check(ctx, rollout.id, retirement.id)
            except AssertionError as error:
                raise AssertionError(f"{pair}: {service.get(ctx, rollout.id)}") from error


@pytest.mark.parametrize("end", ["abort", "stop"])
def test_a_rollout_that_was_aborted_does_not_begin(kernel: Kernel, tmp_path: Path, end: str) -> None:
    with kernel.write(OWNER) as ctx:
        make_release(ctx, tmp_path)
        make_release(ctx, tmp_path, sampling={"temperature": 0.1})
        live(ctx, "hello@1")
        steps = {"release": "hello@2", "environment": "dev", "steps": STEPS}
        rollout = service.start(ctx, RolloutCreate.model_validate(steps))
        starting = deployments.get(ctx, rollout.deployment_id)
        CHANGES[end](ctx, rollout)
        service.begin(ctx, starting)  # as one that read the deployment before the end
        after = service.get(ctx, rollout.id)
        assert (after.state, deployments.get(ctx, starting.id).state) == ("aborted", "stopped")


@pytest.mark.parametrize("was_live", [False, True])
def test_a_rollback_where_nothing_is_live_ends_a_rollout_that_starts(
    kernel: Kernel, tmp_path: Path, was_live: bool
) -> None:
    with kernel.write(OWNER) as ctx:
        make_release(ctx, tmp_path)
        make_release(ctx, tmp_path, sampling={"temperature": 0.1})
        if was_live:
            deployments.stop(ctx, live(ctx, "hello@1").id)
        body = {"release": "hello@2", "environment": "dev", "steps": STEPS}
        rollout = service.start(ctx, RolloutCreate.model_validate(body))
    if not was_live:
        with pytest.raises(NothingToRollBack), kernel.write(OWNER) as ctx:
            deployments.rollback(ctx, "dev", Rollback())
    else:
        with kernel.write(OWNER) as ctx:
            assert deployments.rollback(ctx, "dev", Rollback()).release == "hello@1"
    with kernel.read(OWNER) as ctx:
        states = service.get(ctx, rollout.id).state, deployments.get(ctx, rollout.deployment_id).state
        assert states == (("aborted", "stopped") if was_live else ("starting", "starting"))


def test_a_retired_name_ends_its_rollout_too_and_is_not_rolled_back_to(kernel: Kernel, tmp_path: Path) -> None:
    with kernel.write(OWNER) as ctx:
        make_release(ctx, tmp_path)
        make_release(ctx, tmp_path, sampling={"temperature": 0.1})
        live(ctx, "hello@1")
        body = {"release": "hello@2", "environment": "dev", "steps": STEPS}
        rollout = service.start(ctx, RolloutCreate.model_validate(body))
        day = ctx.now + timedelta(days=1)
        retirements.announce(ctx, RetirementCreate(name="hello", sunset=day, successor="hello@1"))
        later = Context(ctx.conn, ctx.actor, ctx.kernel, now=day)
        assert [r.model for r in retirements.end_due(later, day)] == ["dev/hello"]
        assert service.get(ctx, rollout.id).state == "aborted"
        assert deployments.list_active(ctx, "dev", "hello") == []
        with pytest.raises(Retired):
            deployments.rollback(later, "dev", Rollback(name="hello"))
