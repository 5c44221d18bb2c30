"""The routes of deployments."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from tidemill.core.web import Cursor, Entry, Limit, role
from tidemill.core.wire import Instant, Page
from tidemill.deployments import service
from tidemill.deployments.retirements import routes as retirements
from tidemill.deployments.rollouts import routes as rollouts
from tidemill.deployments.types import Answering, Deployment, DeploymentCreate, Environment, Fleet, Rollback

router = APIRouter(prefix="/api", tags=["deployments"])
router.include_router(rollouts.router)
router.include_router(retirements.router)


@router.get("/environments", openapi_extra=role("viewer"))
def environments(door: Entry) -> Page[Environment]:
    """Every environment, in the order of promotion."""
    return door.look(service.environments)


@router.post("/environments/{environment}/rollback", status_code=201, openapi_extra=role("developer"))
def rollback(environment: str, body: Rollback, door: Entry) -> Deployment:
    """Go back to the release that was live before."""
    return door.work(service.rollback, environment, body)


@router.post("/deployments", status_code=201, openapi_extra=role("developer"))
def deploy(body: DeploymentCreate, door: Entry) -> Deployment:
    """Serve a release in an environment."""
    return door.work(service.deploy, body)


@router.get("/deployments", openapi_extra=role("viewer"))
def listing(
    door: Entry,
    environment: str | None = None,
    name: str | None = None,
    at: Annotated[Instant | None, Query(description="Only what served at that moment.")] = None,
    active: Annotated[bool, Query(description="Only what is live or starting.")] = False,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[Deployment]:
    """Deployments, newest first."""
    return door.look(
        service.listing, environment=environment, name=name, at=at, active_only=active, cursor=cursor, limit=limit
    )


@router.get("/answering", openapi_extra=role("viewer"))
def answering(
    door: Entry,
    at: Annotated[Instant, Query(description="The moment.")],
    environment: str | None = None,
    name: str | None = None,
) -> Page[Answering]:
    """What answered at a moment, with the share of each release."""
    return door.look(service.answered_at, at, environment=environment, name=name)


@router.get("/deployments/{deployment_id}", openapi_extra=role("viewer"))
def get(deployment_id: str, door: Entry) -> Deployment:
    """One deployment."""
    return door.look(service.get, deployment_id)


@router.delete("/deployments/{deployment_id}", openapi_extra=role("developer"))
def stop(deployment_id: str, door: Entry) -> Deployment:
    """Serve it no longer."""
    return door.work(service.stop, deployment_id)


@router.get("/engines", openapi_extra=role("viewer"))
def engines(request: Request) -> Fleet:
    """The engines of this server, as its supervisor sees them."""
    fleet: Fleet = request.app.state.supervisor.fleet()
    return fleet
