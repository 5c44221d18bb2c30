"""`tidemill rollouts` and `tidemill deployments`: what a person sees, and is told when something is wrong."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from tests.deployments.test_service import live
from tests.releases.makers import make_release
from tests.rollouts.test_steps import begun, seen, step
from tidemill.cli import app
from tidemill.client import Client
from tidemill.core.actors import OWNER
from tidemill.core.errors import TidemillError
from tidemill.core.kernel import Context, Kernel
from tidemill.core.settings import Settings
from tidemill.deployments import models, service
from tidemill.deployments.retirements import headers
from tidemill.deployments.retirements import service as retirements
from tidemill.deployments.retirements.types import (
    NothingToRetire,
    Retired,
    RetirementCreate,
    SuccessorUnfit,
    SunsetPassed,
)
from tidemill.deployments.route import RouteTarget, build_routes
from tidemill.deployments.types import DeploymentCreate
from tidemill.releases import service as releases
from tidemill.rollouts.cli import read_steps
from tidemill.rollouts.types import RolloutNotFound
from tidemill.server.app import build_kernel


def run(*argv: str):
    return CliRunner().invoke(app, argv)


@contextmanager
def opened(home: Path) -> Iterator[Kernel]:
    kernel = build_kernel(Settings(home=home))
    try:
        yield kernel
    finally:
        kernel.close()


def test_the_story_of_a_rollback_is_told(home: Path, tmp_path: Path) -> None:
    with opened(home) as kernel, kernel.write(OWNER) as ctx:
        made = begun(ctx, tmp_path)
        step(ctx, made, seen(ctx, 40, worse=30))
    shown = run("rollouts", "show", "dev/hello").stdout
    assert "rolled_back" in shown
    assert "accuracy is worse" in shown
    assert "360 answers of hello@1, 40 of hello@2" in shown
    page = json.loads(run("--json", "rollouts", "show", made.id).stdout)
    assert page["history"][-1]["evidence"]["scores"][0]["worse"] == 30
    assert "hello@2" in run("rollouts", "list", "--env", "dev").stdout
    assert "No rollouts" in run("rollouts", "list", "--active").stdout
    with opened(home) as kernel, kernel.read(OWNER) as ctx:
        evidence = releases.render_evidence(ctx, "hello@2").markdown
    assert "rolled back | dev | accuracy is worse" in evidence
    with Client(home=home) as client, pytest.raises(RolloutNotFound):
        client.rollouts.show("prod/hello")


WRONG = {
    "weight: [": "expected the node content",
    "weight: 10": "holds no list of steps",
    "- wait: 3": "a step is one of weight, pause, shadow and analysis",
    "- analysis: {min_answer: 3}": "min_answer",
    "- pause: tomorrow": "'tomorrow' is not a duration such as 30s",
    "- shadow: {scorer: exact}\n- weight: 10\n- pause: 1m": "compares with an expected answer",
    "- shadow: {scorer: jason_schema}\n- weight: 10\n- pause: 1m": "jason_schema",
}


def test_steps_that_cannot_be_meant(home: Path, tmp_path: Path) -> None:
    with opened(home) as kernel, kernel.write(OWNER) as ctx:
        make_release(ctx, tmp_path)
    with Client(home=home) as client:
        for number, (text, message) in enumerate(WRONG.items()):
            path = tmp_path / f"steps{number}.yaml"
            path.write_text(text)
            with pytest.raises((TidemillError, ValidationError), match=message):
                client.rollouts.start("hello", "dev", steps=read_steps(path))
        assert client.rollouts.list().items == []


def test_a_name_is_retired_with_notice(ctx: Context, tmp_path: Path) -> None:
    for name in ("hello", "help"):
        make_release(ctx, tmp_path, name)
        live(ctx, name)
    day = ctx.now + timedelta(days=30)
    with pytest.raises(NothingToRetire):
        retirements.announce(ctx, RetirementCreate(name="hallo", sunset=day, successor="help"))
    with pytest.raises(SunsetPassed):
        retirements.announce(ctx, RetirementCreate(name="hello", sunset=ctx.now, successor="help"))
    retirements.announce(ctx, RetirementCreate(name="hello", sunset=day, successor="help@1"))
    retirements.announce(ctx, RetirementCreate(name="dev/hello", sunset=day, successor="dev/help"))
    for successor, hint in {
        "dev/hepl": "dev/help",
        "hepl": "help",
        "dev/hello": "stays",
        "qa/help": "dev/help",
    }.items():
        with pytest.raises(SuccessorUnfit) as refused:
            retirements.announce(ctx, RetirementCreate(name="hello", sunset=day, successor=successor))
        assert hint in str(refused.value.hint)
    (standing,) = retirements.list_retirements(ctx).items  # the second announcement took the place of the first
    assert retirements.end_due(ctx, ctx.now) == []
    assert [r.successor for r in retirements.end_due(ctx, day)] == ["dev/help"]
    assert retirements.end_due(ctx, day) == []
    assert [d.name for d in service.list_deployments(ctx, active_only=True).items] == ["help"]
    assert retirements.get(ctx, "dev/hello").ended_at is not None
    later = Context(ctx.conn, ctx.actor, ctx.kernel, now=day + timedelta(days=1))
    with pytest.raises(Retired, match="Its successor is dev/help") as caught:
        service.deploy(later, DeploymentCreate(release="hello", environment="dev", replicas=2))
    assert caught.value.status == 410
    retirements.cancel(later, standing.id)
    assert service.deploy(later, DeploymentCreate(release="hello", environment="dev")).state == "starting"


def test_the_headers_are_those_of_the_standards(ctx: Context, tmp_path: Path) -> None:
    for name in ("help", "hello"):
        make_release(ctx, tmp_path, name)
        live(ctx, name)
    sunset = datetime(2099, 12, 31, 18, 0, tzinfo=UTC)
    assert {card.shutdown_date for card in models.list_cards(ctx)} == {None}
    made = retirements.announce(ctx, RetirementCreate(name="hello", sunset=sunset, successor="dev/help")).items[0]
    dates = {
        b"deprecation": f"@{int(ctx.now.timestamp())}".encode(),
        b"sunset": b"Thu, 31 Dec 2099 18:00:00 GMT",
    }
    link = {b"link": b'</v1/models/dev%2Fhelp>; rel="successor-version"'}
    assert dict(headers.build_headers(made, successor_answers=True)) == dates | link
    assert dict(headers.build_headers(made, successor_answers=False)) == dates
    cards = {card.id: card.shutdown_date for card in models.list_cards(ctx)}
    assert (cards["dev/hello"], cards["dev/help"]) == (int(sunset.timestamp()), None)


def test_replies_link_to_a_successor_only_while_it_answers(ctx: Context, tmp_path: Path) -> None:
    for name in ("help", "hello"):
        make_release(ctx, tmp_path, name)
        live(ctx, name)
    sunset = ctx.now + timedelta(days=1)
    retirement = retirements.announce(ctx, RetirementCreate(name="hello", sunset=sunset, successor="dev/help")).items[0]

    def link() -> bytes | None:
        serving = service.list_deployments(ctx, environment="dev", active_only=True).items
        targets = [RouteTarget(d, models.resolve_release(ctx, d.release)) for d in serving]
        return dict(build_routes(targets, [], {}, {"dev/hello": retirement})["dev/hello"].headers).get(b"link")

    assert link() is not None
    service.stop(ctx, service.list_active(ctx, "dev", "help")[0].id)
    assert link() is None
    error = retirements.retired_error(retirement, successor_answers=False)
    assert "help" not in error.message
    assert "successor" not in (error.details or {})
