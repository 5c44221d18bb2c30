"""The routes of rollouts."""

from fastapi import APIRouter

from tidemill.core.web import Cursor, Limit, RequestContext, role
from tidemill.core.wire import Page
from tidemill.rollouts import service
from tidemill.rollouts.types import Rollout, RolloutCreate, RolloutMove, RolloutPage, ShadowPair

router = APIRouter(prefix="/api/rollouts", tags=["rollouts"])


@router.post("", status_code=201, openapi_extra=role("developer"))
def start(body: RolloutCreate, request: RequestContext) -> Rollout:
    """Move an environment to a release step by step."""
    return request.write(service.start, body)


@router.get("", openapi_extra=role("viewer"))
def list_rollouts(
    request: RequestContext,
    environment: str | None = None,
    name: str | None = None,
    release: str | None = None,
    active: bool = False,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[Rollout]:
    """Rollouts, newest first; with `active` only open ones."""
    return request.read(
        service.list_rollouts,
        environment=environment,
        name=name,
        release=release,
        active=active,
        cursor=cursor,
        limit=limit,
    )


@router.get("/{rollout_id:path}/pairs", openapi_extra=role("viewer"))
def list_pairs(rollout_id: str, request: RequestContext, cursor: Cursor = None, limit: Limit = 50) -> Page[ShadowPair]:
    """Copied calls with both answers, newest first."""
    return request.read(service.list_pairs, rollout_id, cursor=cursor, limit=limit)


@router.post("/{rollout_id:path}/promote", openapi_extra=role("developer"))
def promote(rollout_id: str, body: RolloutMove, request: RequestContext) -> Rollout:
    """Send all callers to the new release now."""
    return request.write(service.promote, rollout_id, body)


@router.post("/{rollout_id:path}/pause", openapi_extra=role("developer"))
def pause(rollout_id: str, body: RolloutMove, request: RequestContext) -> Rollout:
    """Pause a rollout at its present step."""
    return request.write(service.pause, rollout_id, body)


@router.post("/{rollout_id:path}/resume", openapi_extra=role("developer"))
def resume(rollout_id: str, body: RolloutMove, request: RequestContext) -> Rollout:
    """Continue after a pause or a hold."""
    return request.write(service.resume, rollout_id, body)


@router.post("/{rollout_id:path}/abort", openapi_extra=role("developer"))
def abort(rollout_id: str, body: RolloutMove, request: RequestContext) -> Rollout:
    """Send all callers back to the old release."""
    return request.write(service.abort, rollout_id, body)


@router.get("/{rollout_id:path}", openapi_extra=role("viewer"))
def show(rollout_id: str, request: RequestContext) -> RolloutPage:
    """One rollout: its steps, its history, and its newest evidence."""
    return request.read(service.get_page, rollout_id)
