"""The routes of rollouts."""

from fastapi import APIRouter

from tidemill.core.web import Cursor, Entry, Limit, role
from tidemill.core.wire import Page
from tidemill.deployments.rollouts import service
from tidemill.deployments.rollouts.types import Rollout, RolloutCreate, RolloutMove, RolloutPage, ShadowPair

router = APIRouter(prefix="/rollouts")


@router.post("", status_code=201, openapi_extra=role("developer"))
def start(body: RolloutCreate, door: Entry) -> Rollout:
    """Move an environment to a release step by step."""
    return door.work(service.start, body)


@router.get("", openapi_extra=role("viewer"))
def listing(
    door: Entry,
    environment: str | None = None,
    name: str | None = None,
    release: str | None = None,
    active: bool = False,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[Rollout]:
    """Rollouts, newest first; with `active` those that go on."""
    return door.look(
        service.listing,
        environment=environment,
        name=name,
        release=release,
        active=active,
        cursor=cursor,
        limit=limit,
    )


@router.get("/{rollout_id:path}/pairs", openapi_extra=role("viewer"))
def pairs(rollout_id: str, door: Entry, cursor: Cursor = None, limit: Limit = 50) -> Page[ShadowPair]:
    """Mirrored calls with both answers, newest first."""
    return door.look(service.pairs, rollout_id, cursor=cursor, limit=limit)


@router.post("/{rollout_id:path}/promote", openapi_extra=role("developer"))
def promote(rollout_id: str, body: RolloutMove, door: Entry) -> Rollout:
    """Send everybody to the new release now."""
    return door.work(service.promote, rollout_id, body)


@router.post("/{rollout_id:path}/pause", openapi_extra=role("developer"))
def pause(rollout_id: str, body: RolloutMove, door: Entry) -> Rollout:
    """Stay where it is."""
    return door.work(service.pause, rollout_id, body)


@router.post("/{rollout_id:path}/resume", openapi_extra=role("developer"))
def resume(rollout_id: str, body: RolloutMove, door: Entry) -> Rollout:
    """Go on after a pause or a hold."""
    return door.work(service.resume, rollout_id, body)


@router.post("/{rollout_id:path}/abort", openapi_extra=role("developer"))
def abort(rollout_id: str, body: RolloutMove, door: Entry) -> Rollout:
    """Back to the old release alone."""
    return door.work(service.abort, rollout_id, body)


@router.get("/{rollout_id:path}", openapi_extra=role("viewer"))
def show(rollout_id: str, door: Entry) -> RolloutPage:
    """One rollout: its steps, its history, and the evidence as it is now."""
    return door.look(service.show, rollout_id)
