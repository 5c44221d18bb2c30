"""A run that is cancelled ends the rollout or deployment that it has begun, and nothing else."""

from typing import Any

from tests.deployments.live import wait_for
from tests.pipelines.conftest import Desk
from tests.releases.makers import add_model
from tidemill.core.actors import OWNER
from tidemill.deployments import service as deployments
from tidemill.deployments import store as deployment_rows
from tidemill.deployments.types import Deployment
from tidemill.pipelines.types import PipelineSpec, RunDetail
from tidemill.rollouts import service as rollouts
from tidemill.rollouts.types import Rollout, RolloutCreate


def ship(desk: Desk, temperature: float, **environment: Any) -> None:
    spec = {
        "name": "ship",
        "model": "tiny",
        "release": {"name": "hello", "sampling": {"temperature": temperature}},
        "environments": [{"name": "dev", **environment}],
    }
    desk.pipelines.apply(PipelineSpec.model_validate(spec))


def active(desk: Desk) -> list[Deployment]:
    with desk.kernel.read(OWNER) as ctx:
        return deployments.list_deployments(ctx, environment="dev", active_only=True).items


def begun(desk: Desk) -> Rollout | None:
    with desk.kernel.read(OWNER) as ctx:
        return rollouts.get_open(ctx, "dev", "hello")


def served(desk: Desk) -> None:
    """A first release that is live; no engine runs here, so the test says so."""
    with desk.kernel.write(OWNER) as ctx:
        add_model(ctx, desk.folder)
    ship(desk, 0.0)
    run = desk.runs.start("ship")
    wait_for(lambda: active(desk) != [])
    first = active(desk)[0]
    with desk.kernel.write(OWNER) as ctx:
        deployment_rows.change_state(ctx.conn, first.id, ("starting",), state="live", live_at=ctx.now)
    assert desk.runs.wait(run.id, timeout=120).state == "succeeded"


def cancelled(desk: Desk, run: RunDetail) -> RunDetail:
    desk.runs.cancel(run.ref)
    done = desk.runs.wait(run.id, check=False, timeout=120)
    assert done.state == "cancelled"
    return done


def test_cancelling_a_run_ends_the_rollout_it_began_and_says_so(both: Desk) -> None:
    served(both)
    ship(both, 0.5, rollout={"steps": [{"weight": 10}, {"pause": {}}, {"weight": 100}]})
    run = both.runs.start("ship")
    wait_for(lambda: begun(both) is not None)
    rollout = begun(both)
    assert rollout is not None
    done = cancelled(both, run)
    assert done.summary == ("Cancelled. The rollout of hello@2 in dev was aborted: hello@1 answers everybody again.")
    with both.kernel.read(OWNER) as ctx:
        ended = rollouts.get(ctx, rollout.id)
    assert (ended.state, ended.weight) == ("aborted", 0.0)
    assert ended.reason == "ship#2, which began it, was cancelled."
    assert [(d.release, d.state) for d in active(both)] == [("hello@1", "live")]

    again = both.runs.retry(run.ref)
    wait_for(lambda: begun(both) is not None)
    fresh = begun(both)
    assert fresh is not None
    assert fresh.id != rollout.id, "a retry begins another"
    cancelled(both, again)
    assert begun(both) is None


def test_a_rollout_that_a_person_began_goes_on(desk: Desk) -> None:
    served(desk)
    ship(desk, 0.5, rollout={"steps": [{"weight": 10}, {"weight": 100}]})
    run = desk.runs.start("ship")
    wait_for(lambda: begun(desk) is not None)
    cancelled(desk, run)
    with desk.kernel.write(OWNER) as ctx:
        mine = rollouts.start(ctx, RolloutCreate(release="hello@2", environment="dev"))
    desk.runs.retry(run.ref)
    wait_for(lambda: desk.runs.get(run.id).step("rollout/dev").state in ("running", "waiting"))
    done = cancelled(desk, run)
    assert done.summary == "Cancelled."
    assert begun(desk).id == mine.id


def test_a_deployment_that_was_starting_is_stopped(desk: Desk) -> None:
    with desk.kernel.write(OWNER) as ctx:
        add_model(ctx, desk.folder)
    ship(desk, 0.0)
    run = desk.runs.start("ship")
    wait_for(lambda: active(desk) != [])
    done = cancelled(desk, run)
    assert done.summary == "Cancelled. hello@1, which was starting in dev, was stopped."
    assert active(desk) == []
