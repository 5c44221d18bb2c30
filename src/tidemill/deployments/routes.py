"""The routes of deployments."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from tidemill.core.times import TimeQuery
from tidemill.core.web import Cursor, Limit, RequestContext, role
from tidemill.core.wire import Page
from tidemill.deployments import service
from tidemill.deployments.references import get_deployment
from tidemill.deployments.retirements import routes as retirements
from tidemill.deployments.types import (
    Deployment,
    DeploymentCreate,
    Environment,
    EnvironmentUpdate,
    Rollback,
    ServingDeployment,
)
from tidemill.engines.types import Fleet

DeploymentRef = Annotated[
    str, Path(description="A `dep_` id, or what is served now: `prod/name`, or `name` or `name@3` in one environment.")
]

router = APIRouter(prefix="/api", tags=["deployments"])
router.include_router(retirements.router)


@router.get("/environments", openapi_extra=role("observer"))
def list_environments(request: RequestContext) -> Page[Environment]:
    """Every environment, in the order of promotion."""
    return request.read(service.list_environments)


@router.patch("/environments/{environment}", openapi_extra=role("admin"))
def update_environment(environment: str, body: EnvironmentUpdate, request: RequestContext) -> Environment:
    """Change the settings of an environment."""
    return request.write(service.update_environment, environment, body)


@router.post("/environments/{environment}/rollback", status_code=201, openapi_extra=role("developer"))
def rollback(environment: str, body: Rollback, request: RequestContext) -> Deployment:
    """Go back to the release that was live before."""
    return request.write(service.rollback, environment, body)


@router.post("/deployments", status_code=201, openapi_extra=role("developer"))
def deploy(body: DeploymentCreate, request: RequestContext) -> Deployment:
    """Serve a release in an environment."""
    return request.write(service.deploy, body)


@router.get("/deployments", openapi_extra=role("observer"))
def list_deployments(
    request: RequestContext,
    environment: str | None = None,
    name: str | None = None,
    at: Annotated[TimeQuery | None, Query(description="Only what served at that time.")] = None,
    active: Annotated[bool, Query(description="Only what is live or starting.")] = False,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[Deployment]:
    """Deployments, newest first."""
    return request.read(
        service.list_deployments,
        environment=environment,
        name=name,
        at=at,
        active_only=active,
        cursor=cursor,
        limit=limit,
    )


@router.get("/answering", openapi_extra=role("observer"))
def answering(
    request: RequestContext,
    at: Annotated[TimeQuery, Query(description="The moment.")],
    environment: str | None = None,
    name: str | None = None,
) -> Page[ServingDeployment]:
    """What answered at a moment, with the share of each release."""
    return request.read(service.list_serving_at, at, environment=environment, name=name)


@router.get("/deployments/{deployment_id:path}", openapi_extra=role("observer"))
def get(deployment_id: DeploymentRef, request: RequestContext) -> Deployment:
    """One deployment."""
    return request.read(get_deployment, deployment_id)


@router.delete("/deployments/{deployment_id:path}", openapi_extra=role("developer"))
def stop(deployment_id: DeploymentRef, request: RequestContext) -> Deployment:
    """End a deployment."""
    return request.write(service.stop, deployment_id)


@router.get("/engines", openapi_extra=role("observer"))
def list_engines(request: Request) -> Fleet:
    """The engines of this server, as its supervisor sees them."""
    fleet: Fleet = request.app.state.supervisor.get_fleet()
    return fleet
