"""Deciding about retirements: what is announced, what is over, and what callers are told."""

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
    served = sorted({d.environment for d in deployments.active(ctx.conn, environment or None, name)})
    if not served:
        raise NothingToRetire(
            f"Nothing is served under {body.name!r}.", hint="`tidemill deployments list` shows what is.", param="name"
        )
    found = [_announce(ctx, body, where, name) for where in served]
    return Page(items=found)


def _announce(ctx: Context, body: RetirementCreate, environment: str, name: str) -> Retirement:
    for earlier in store.standing(ctx.conn, environment, name):
        store.update(ctx.conn, earlier.id, cancelled_at=ctx.now)
    made = Retirement(
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
    store.insert(ctx.conn, made)
    facts = {"model": made.model, "sunset": body.sunset.isoformat(), "successor": body.successor, "note": body.note}
    events.emit(ctx, "retirement.announced", made.id, facts)
    return made


def cancel(ctx: Context, retirement_id: str) -> Retirement:
    """Take it back; a name that is gone may be deployed again then. Raises RetirementNotFound."""
    found = get(ctx, retirement_id)
    store.update(ctx.conn, found.id, cancelled_at=ctx.now)
    events.emit(ctx, "retirement.cancelled", found.id, {"model": found.model})
    return found.model_copy(update={"cancelled_at": ctx.now})


def get(ctx: Context, retirement_id: str) -> Retirement:
    """One standing retirement, by its id or by `environment/name`. Raises RetirementNotFound."""
    found = [r for r in store.standing(ctx.conn) if retirement_id in (r.id, r.model)]
    if not found:
        raise RetirementNotFound(
            f"No retirement of {retirement_id!r} stands.", hint="`tidemill deployments retirements` lists them."
        )
    return found[-1]


def show(ctx: Context, retirement_id: str) -> RetirementPage:
    """One retirement and who still asks. Raises RetirementNotFound."""
    found = get(ctx, retirement_id)
    callers: list[Caller] = []
    for deployment in deployments.under(ctx.conn, found.environment, found.name, since=found.announced_at):
        callers += traces.callers(ctx, deployment_id=deployment.id, since=found.announced_at)
    return RetirementPage(retirement=found, callers=sorted(callers, key=lambda c: -c.requests))


def standing(ctx: Context) -> list[Retirement]:
    """All that were not taken back, oldest first."""
    return store.standing(ctx.conn)


def listing(ctx: Context) -> Page[Retirement]:
    """All that were not taken back, newest first."""
    return Page(items=list(reversed(store.standing(ctx.conn))))


def refuse_when_gone(ctx: Context, environment: str, name: str) -> None:
    """Raise Retired when the name is out of service in the environment."""
    for found in store.standing(ctx.conn, environment, name):
        if found.sunset <= ctx.now:
            raise gone(found)


def end_due(ctx: Context, now: datetime) -> list[Retirement]:
    """Stop what is past its date: running answers finish, new ones are refused. Returns what has ended now."""
    ended = []
    for found in store.standing(ctx.conn):
        if found.ended_at is None and found.sunset <= now:
            for deployment in deployments.active(ctx.conn, found.environment, found.name):
                deployments.update(ctx.conn, deployment.id, state="stopped", ended_at=ctx.now, error="Retired.")
            store.update(ctx.conn, found.id, ended_at=ctx.now)
            events.emit(ctx, "retirement.ended", found.id, {"model": found.model, "successor": found.successor})
            ended.append(found)
    return ended


def gone(found: Retirement) -> Retired:
    """The error that callers of a retired name get."""
    return Retired(
        f"{found.model} is out of service since {found.sunset:%Y-%m-%d %H:%M} UTC. Its successor is {found.successor}.",
        hint=f'Ask "model": "{found.successor}" instead.',
        param="model",
        details={"successor": found.successor, "sunset": found.sunset.isoformat()},
    )
