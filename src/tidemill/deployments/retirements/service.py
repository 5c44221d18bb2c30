"""Retirements: announce, cancel, list and end them."""

from datetime import datetime

from tidemill.core import events
from tidemill.core.kernel import Context
from tidemill.core.wire import Page, new_id
from tidemill.deployments import models, promotion
from tidemill.deployments import store as deployments
from tidemill.deployments.retirements import store
from tidemill.deployments.retirements.types import (
    NothingToRetire,
    Retired,
    Retirement,
    RetirementCreate,
    RetirementNotFound,
    RetirementPage,
    SuccessorUnfit,
    SunsetPassed,
)
from tidemill.deployments.types import RolloutHooks
from tidemill.gateway.types import UnknownModel, unknown_model
from tidemill.traces import service as traces
from tidemill.traces.types import Caller


def announce(ctx: Context, body: RetirementCreate) -> Page[Retirement]:
    """Announce the end of a name, in one environment or in all that serve it. Announcing again changes the date.

    Raises NothingToRetire, SunsetPassed, SuccessorUnfit.
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
    for each_environment in served:
        promotion.lock(ctx, each_environment, name)
    _check_successor(ctx, body, {f"{each_environment}/{name}" for each_environment in served})
    announced = [_announce(ctx, body, each_environment, name) for each_environment in served]
    return Page(items=announced)


def _check_successor(ctx: Context, body: RetirementCreate, retired: set[str]) -> None:
    """Raise SuccessorUnfit unless callers can request the successor now, and after the sunset date."""
    ending = {r.model for r in store.list_uncancelled(ctx.conn) if r.sunset <= body.sunset} | retired
    if body.successor in ending:
        raise SuccessorUnfit(
            f"{body.successor} goes out of service itself.", hint="Name a model that stays.", param="successor"
        )
    try:
        if "/" not in body.successor:
            models.resolve_name(ctx, body.successor)
            return
        names = [card.id for card in models.list_cards(ctx)]
        if body.successor not in names:
            raise unknown_model(body.successor, [name for name in names if name not in ending])
    except UnknownModel as error:
        raise SuccessorUnfit(
            f"The successor {body.successor!r} is no model that answers.",
            hint=error.hint,
            param="successor",
            details=error.details,
        ) from error


def _announce(ctx: Context, body: RetirementCreate, environment: str, name: str) -> Retirement:
    for earlier in store.list_uncancelled(ctx.conn, environment, name):
        store.cancel(ctx.conn, earlier.id, ctx.now)
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
    promotion.lock(ctx, retirement.environment, retirement.name)
    if not store.cancel(ctx.conn, retirement.id, ctx.now):
        return cancel(ctx, retirement_id)  # another one was announced, or it was cancelled, a moment ago
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
    """Stop the deployments of names past their sunset, and abort their rollouts. Return what ended now."""
    # In one order, so that two that end the same names wait for each other once.
    due = sorted((r for r in store.list_uncancelled(ctx.conn) if _is_due(r, now)), key=lambda r: r.model)
    return [retirement for retirement in due if _end(ctx, retirement)]


def _is_due(retirement: Retirement, now: datetime) -> bool:
    return retirement.ended_at is None and retirement.sunset <= now


def _end(ctx: Context, retirement: Retirement) -> bool:
    """Take a name out of service. Return False when another transaction has, or the retirement was cancelled."""
    promotion.lock(ctx, retirement.environment, retirement.name)
    if not store.end(ctx.conn, retirement.id, ctx.now):
        return False
    ctx.kernel.get(RolloutHooks).abort_open(ctx, retirement.environment, retirement.name, "The name is retired.")
    for deployment in deployments.list_active(ctx.conn, retirement.environment, retirement.name):
        changes = {"state": "stopped", "ended_at": ctx.now, "error": "Retired."}
        if deployments.change_state(ctx.conn, deployment.id, deployments.ACTIVE, **changes):
            facts = {"environment": deployment.environment, "release": deployment.release}
            events.emit(ctx, "deployment.stopped", deployment.id, facts)
    facts = {"model": retirement.model, "successor": retirement.successor}
    events.emit(ctx, "retirement.ended", retirement.id, facts)
    return True


def retired_error(retirement: Retirement, *, successor_answers: bool = True) -> Retired:
    """Return the error that callers of a retired name get. It names the successor while that one answers."""
    text = f"{retirement.model} is out of service since {retirement.sunset:%Y-%m-%d %H:%M} UTC."
    details = {"sunset": retirement.sunset.isoformat()}
    if not successor_answers:
        return Retired(text, hint="`GET /v1/models` lists the models that answer.", param="model", details=details)
    return Retired(
        f"{text} Its successor is {retirement.successor}.",
        hint=f'Ask "model": "{retirement.successor}" instead.',
        param="model",
        details=details | {"successor": retirement.successor},
    )
