"""What may go where, on SQLite and on PostgreSQL."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.releases.makers import ANNA, BERT, make_release
from tidemill.core import events, lineage
from tidemill.core.kernel import Context
from tidemill.deployments import service, store
from tidemill.deployments.types import (
    DeploymentAmbiguous,
    DeploymentCreate,
    DeploymentNotFound,
    EnvironmentNotFound,
    EnvironmentUpdate,
    ForceNotAllowed,
    NotCleared,
    NothingToRollBack,
    PromotionOutOfOrder,
    Rollback,
    RollbackAmbiguous,
)


def order(ctx: Context, release: str, environment: str = "dev", **more: object):
    return service.deploy(ctx, DeploymentCreate(release=release, environment=environment, **more))


def live(ctx: Context, release: str, environment: str = "dev", **more: object):
    return service.go_live(ctx, order(ctx, release, environment, **more).id)


def test_the_order_is_dev_qa_prod(ctx: Context, tmp_path: Path) -> None:
    make_release(ctx, tmp_path)
    assert [e.name for e in service.list_environments(ctx).items] == ["dev", "qa", "prod"]
    with pytest.raises(PromotionOutOfOrder, match="never been live in dev"):
        order(ctx, "hello", "qa")
    waiting = order(ctx, "hello")
    with pytest.raises(PromotionOutOfOrder):
        order(ctx, "hello", "qa")
    service.go_live(ctx, waiting.id)
    assert live(ctx, "hello", "qa").state == "live"
    with pytest.raises(EnvironmentNotFound, match="staging"):
        order(ctx, "hello", "staging")


def test_what_becomes_of_overrides_is_set_for_an_environment_and_audited(ctx: Context) -> None:
    refusing = EnvironmentUpdate(overrides="refuse")
    for _ in range(2):
        assert service.update_environment(ctx, "prod", refusing).overrides == "refuse"
    assert [e.overrides for e in service.list_environments(ctx).items] == ["allow", "allow", "refuse"]
    assert service.get_desired_state(ctx).refusing == {"prod"}
    changes = events.list_events(ctx.conn, kind="environment.updated")
    assert [(e.subject, e.data) for e in changes] == [("prod", {"overrides": "refuse"})]
    service.update_environment(ctx, "prod", EnvironmentUpdate(overrides="allow"))
    assert service.get_desired_state(ctx).refusing == frozenset()
    with pytest.raises(EnvironmentNotFound, match="staging"):
        service.update_environment(ctx, "staging", refusing)


def test_prod_asks_for_gate_and_approval(ctx: Context, tmp_path: Path) -> None:
    make_release(ctx, tmp_path)
    live(ctx, "hello")
    live(ctx, "hello", "qa")
    with pytest.raises(NotCleared) as caught:
        order(ctx, "hello", "prod")
    assert len(caught.value.details["reasons"]) == 2
    assert store.list_active(ctx.conn, "prod") == []


def test_only_an_admin_forces_and_the_reason_is_kept(ctx: Context, tmp_path: Path) -> None:
    make_release(ctx, tmp_path)
    for actor in (ANNA, BERT):
        with pytest.raises(ForceNotAllowed):
            order(Context(ctx.conn, actor, ctx.kernel), "hello", "prod", force_reason="quick")
    forced = order(ctx, "hello", "prod", force_reason="the site is down")
    assert forced.forced == "the site is down"
    fact = events.list_events(ctx.conn, subject=forced.id)[0]
    assert (fact.kind, fact.data["forced"]) == ("deployment.forced", "the site is down")


def test_ordering_what_is_there_gives_what_is_there(ctx: Context, tmp_path: Path) -> None:
    make_release(ctx, tmp_path)
    first = order(ctx, "hello")
    assert order(ctx, "hello") == first
    done = service.go_live(ctx, first.id)
    assert order(ctx, "hello") == done


def test_a_deployment_is_named_as_everything_else_is(ctx: Context, tmp_path: Path) -> None:
    make_release(ctx, tmp_path)
    with pytest.raises(DeploymentNotFound, match="no deployment 'hello'") as nothing:
        service.get_deployment(ctx, "hello")
    assert nothing.value.hint.startswith("Nothing is served now.")
    first = live(ctx, "hello")
    for ref in (first.id, "dev/hello", "hello", "hello@1", "dev/hello@1"):
        assert service.get_deployment(ctx, ref).id == first.id
    for ref, hint in (("dev/helo", "dev/hello"), ("qa/hello", "dev/hello"), ("hello@9", "dev/hello"), ("", "Served")):
        with pytest.raises(DeploymentNotFound) as unknown:
            service.get_deployment(ctx, ref)
        assert hint in unknown.value.hint
    live(ctx, "hello", "qa")
    with pytest.raises(DeploymentAmbiguous, match="dev/hello, qa/hello"):
        service.stop(ctx, "hello")
    assert service.stop(ctx, "dev/hello").state == "stopped"
    assert service.stop(ctx, first.id).state == "stopped"


def test_a_new_release_takes_the_place_and_rollback_gives_it_back(ctx: Context, tmp_path: Path) -> None:
    first = make_release(ctx, tmp_path)
    second = make_release(ctx, tmp_path, sampling={"temperature": 0.1})
    one, two = live(ctx, first.ref), live(ctx, second.ref)
    assert service.get(ctx, one.id).state == "superseded"
    with pytest.raises(NothingToRollBack):
        service.rollback(ctx, "qa", Rollback())
    back = service.go_live(ctx, service.rollback(ctx, "dev", Rollback(note="worse")).id)
    assert (back.release_id, back.kind, back.note) == (first.id, "rollback", "worse")
    assert service.get(ctx, two.id).state == "superseded"
    parents = {e.parent_id for e in lineage.walk(ctx.conn, back.id, "up").edges}
    assert first.id in parents


def test_a_later_order_calls_off_one_that_still_starts(ctx: Context, tmp_path: Path) -> None:
    make_release(ctx, tmp_path)
    make_release(ctx, tmp_path, sampling={"temperature": 0.1})
    waiting = order(ctx, "hello@1")
    order(ctx, "hello@2")
    assert service.get(ctx, waiting.id).state == "superseded"
    assert service.go_live(ctx, waiting.id) is None


def test_a_failure_leaves_the_old_one_live(ctx: Context, tmp_path: Path) -> None:
    make_release(ctx, tmp_path)
    make_release(ctx, tmp_path, sampling={"temperature": 0.1})
    old = live(ctx, "hello@1")
    new = order(ctx, "hello@2")
    service.fail(ctx, new.id, "corrupt")
    assert (service.get(ctx, new.id).state, service.get(ctx, new.id).error) == ("failed", "corrupt")
    assert service.get(ctx, old.id).state == "live"
    with pytest.raises(NothingToRollBack):
        service.rollback(ctx, "dev", Rollback())


def test_rollback_asks_which_of_several(ctx: Context, tmp_path: Path) -> None:
    make_release(ctx, tmp_path)
    make_release(ctx, tmp_path, name="other")
    live(ctx, "hello")
    live(ctx, "other")
    with pytest.raises(RollbackAmbiguous, match="hello, other"):
        service.rollback(ctx, "dev", Rollback())


def test_history_tells_what_served_when(ctx: Context, tmp_path: Path) -> None:
    make_release(ctx, tmp_path)
    done = live(ctx, "hello")
    at = done.live_at
    assert [d.id for d in service.list_deployments(ctx, at=at).items] == [done.id]
    assert service.list_deployments(ctx, at=at - timedelta(seconds=1)).items == []
    assert service.stop(ctx, done.id).state == "stopped"
    assert service.list_deployments(ctx, active_only=True).items == []
