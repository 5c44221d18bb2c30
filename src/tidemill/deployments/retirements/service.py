"""Retirements: announce, cancel, list and end them."""

from datetime import datetime

from tidemill.core import events
from tidemill.core.kernel import Context
from tidemill.core.wire import Page, new_id
from tidemill.deployments import store as deployments
from tidemill.deployments.retirements import store
from tidemill.deployments.retirements.types import (
    NothingToRetire,
    Retired,
    Retirement,
    RetirementCreate,
    RetirementNotFound,
    RetirementPage,
    SunsetPassed,
)
from tidemill.traces import service as traces
from tidemill.traces.types import Caller


def announce(ctx: Context, body: RetirementCreate) -> Page[Retirement]:
    """Announce the end of a name, in one environment or in all that serve it. Announcing again changes the date.

    Raises NothingToRetire, SunsetPassed.
    """
    if body.sunset <= ctx.now:
        raise SunsetPassed(
            f"{body.sunset:%Y-%m-%d %H:%M} UTC has passed.", hint="Give callers some time.", param="sunset"
        )
    environment, _, name = body.name.rpartition("/")
    served = sorted({d.environment for d in deployments.list_active(ctx.conn, environment or None, name)})
    if not served:
        raise NothingToRetire(
            f"Nothing is served under {body.name!r}.", hint="`tidemill deployments list` shows what is.", param="name"
        )
    announced = [_announce(ctx, body, each_environment, name) for each_environment in served]
    return Page(items=announced)


def _announce(ctx: Context, body: RetirementCreate, environment: str, name: str) -> Retirement:
    for earlier in store.list_uncancelled(ctx.conn, environment, name):
        store.update(ctx.conn, earlier.id, cancelled_at=ctx.now)
    retirement = Retirement(
        id=new_id("ret"),
        environment=environment,
        name=name,
        sunset=body.sunset,
        successor=body.successor,
        note=body.note,
        announced_by=ctx.actor.name,
        announced_at=ctx.now,
        ended_at=None,
        cancelled_at=None,
    )
    store.insert(ctx.conn, retirement)
    facts = {
        "model": retirement.model,
        "sunset": body.sunset.isoformat(),
        "successor": body.successor,
        "note": body.note,
    }
    events.emit(ctx, "retirement.announced", retirement.id, facts)
    return retirement


def cancel(ctx: Context, retirement_id: str) -> Retirement:
    """Cancel a retirement and return it; a retired name may then be deployed again. Raises RetirementNotFound."""
    retirement = get(ctx, retirement_id)
    store.update(ctx.conn, retirement.id, cancelled_at=ctx.now)
    events.emit(ctx, "retirement.cancelled", retirement.id, {"model": retirement.model})
    return retirement.model_copy(update={"cancelled_at": ctx.now})


def get(ctx: Context, retirement_id: str) -> Retirement:
    """Return a retirement that was not cancelled, by its id or by `environment/name`. Raises RetirementNotFound."""
    matches = [r for r in store.list_uncancelled(ctx.conn) if retirement_id in (r.id, r.model)]
    if not matches:
        raise RetirementNotFound(
            f"No retirement of {retirement_id!r} stands.", hint="`tidemill deployments retirements` lists them."
        )
    return matches[-1]


def get_page(ctx: Context, retirement_id: str) -> RetirementPage:
    """Return a retirement and the callers since its announcement. Raises RetirementNotFound."""
    retirement = get(ctx, retirement_id)
    callers: list[Caller] = []
    for deployment in deployments.list_by_name(
        ctx.conn, retirement.environment, retirement.name, since=retirement.announced_at
    ):
        callers += traces.list_callers(ctx, deployment_id=deployment.id, since=retirement.announced_at)
    return RetirementPage(retirement=retirement, callers=sorted(callers, key=lambda c: -c.requests))


def list_uncancelled(ctx: Context) -> list[Retirement]:
    """Return the retirements that were not cancelled, oldest first."""
    return store.list_uncancelled(ctx.conn)


def list_retirements(ctx: Context) -> Page[Retirement]:
    """Return the retirements that were not cancelled, newest first."""
    return Page(items=list(reversed(store.list_uncancelled(ctx.conn))))


def check_not_retired(ctx: Context, environment: str, name: str) -> None:
    """Raise Retired when the name is retired in the environment."""
    for retirement in store.list_uncancelled(ctx.conn, environment, name):
        if retirement.sunset <= ctx.now:
            raise retired_error(retirement)


def end_due(ctx: Context, now: datetime) -> list[Retirement]:
    """Stop the deployments of names past their sunset. Return the retirements that ended now."""
    ended = []
    for retirement in store.list_uncancelled(ctx.conn):
        if retirement.ended_at is None and retirement.sunset <= now:
            for deployment in deployments.list_active(ctx.conn, retirement.environment, retirement.name):
                changes = {"state": "stopped", "ended_at": ctx.now, "error": "Retired."}
                deployments.change_state(ctx.conn, deployment.id, deployments.ACTIVE, **changes)
            store.update(ctx.conn, retirement.id, ended_at=ctx.now)
            events.emit(
                ctx, "retirement.ended", retirement.id, {"model": retirement.model, "successor": retirement.successor}
            )
            ended.append(retirement)
    return ended


def retired_error(retirement: Retirement) -> Retired:
    """Return the error that callers of a retired name get."""
    return Retired(
        f"{retirement.model} is out of service since {retirement.sunset:%Y-%m-%d %H:%M} UTC. "
        f"Its successor is {retirement.successor}.",
        hint=f'Ask "model": "{retirement.successor}" instead.',
        param="model",
        details={"successor": retirement.successor, "sunset": retirement.sunset.isoformat()},
    )
