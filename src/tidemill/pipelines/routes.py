"""The routes of pipelines and their runs."""

from typing import Any

from fastapi import APIRouter

from tidemill.core.web import Cursor, Limit, RequestContext, role
from tidemill.core.wire import Page
from tidemill.pipelines import service
from tidemill.pipelines.types import (
    Applied,
    Pipeline,
    PipelineApply,
    PipelineRemove,
    PipelineRemoved,
    PipelineSpec,
    Plan,
    Run,
    RunDetail,
    RunRetry,
    RunStart,
    RunState,
    StepSkip,
)

router = APIRouter(prefix="/api", tags=["pipelines"])


@router.post("/pipelines/plan", openapi_extra=role("developer"))
def plan(body: PipelineApply, request: RequestContext) -> Plan:
    """What applying a document would change. Changes nothing."""
    return request.read(service.plan, body)


@router.post("/pipelines", openapi_extra=role("developer"))
def apply(body: PipelineApply, request: RequestContext) -> Applied:
    """Apply a document. Applying it again changes nothing."""
    return request.write(service.apply, body)


@router.get("/pipelines", openapi_extra=role("viewer"))
def list_pipelines(request: RequestContext, cursor: Cursor = None, limit: Limit = 50) -> Page[Pipeline]:
    """Every pipeline as it was applied last, by name."""
    return request.read(service.list_pipelines, cursor=cursor, limit=limit)


@router.get("/pipeline-schema", openapi_extra=role("viewer"))
def schema() -> dict[str, Any]:
    """The JSON schema of `tidemill.yaml`."""
    return PipelineSpec.model_json_schema()


@router.get("/pipelines/{ref}", openapi_extra=role("viewer"))
def get(ref: str, request: RequestContext) -> Pipeline:
    """One pipeline: `name`, or `name@2` as it was then."""
    return request.read(service.get, ref)


@router.post("/pipelines/{name}/remove", openapi_extra=role("developer"))
def remove(name: str, body: PipelineRemove, request: RequestContext) -> PipelineRemoved:
    """Start no run any more and watch nothing for it; its documents and runs stay readable."""
    return request.write(service.remove, name, body)


@router.post("/pipeline-runs", status_code=201, openapi_extra=role("developer"))
def start(body: RunStart, request: RequestContext) -> RunDetail:
    """Start a run; while one of the same document is active, that one is the answer."""
    return request.write(service.start, body)


@router.get("/pipeline-runs", openapi_extra=role("viewer"))
def list_runs(
    request: RequestContext,
    pipeline: str | None = None,
    state: RunState | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[Run]:
    """List pipeline runs, newest first."""
    return request.read(service.list_runs, pipeline=pipeline, state=state, cursor=cursor, limit=limit)


@router.get("/pipeline-runs/{ref}", openapi_extra=role("viewer"))
def get_run(ref: str, request: RequestContext) -> RunDetail:
    """One run with its steps: an id, `name#3`, or `name` for its newest."""
    return request.read(service.get_run, ref)


@router.post("/pipeline-runs/{ref}/cancel", openapi_extra=role("developer"))
def cancel(ref: str, request: RequestContext) -> RunDetail:
    """End a run and what it waits for."""
    return request.write(service.cancel, ref)


@router.post("/pipeline-runs/{ref}/skip", openapi_extra=role("developer"))
def skip(ref: str, body: StepSkip, request: RequestContext) -> RunDetail:
    """Leave a step out, with a reason."""
    return request.write(service.skip, ref, body)


@router.post("/pipeline-runs/{ref}/retry", openapi_extra=role("developer"))
def retry(ref: str, body: RunRetry, request: RequestContext) -> RunDetail:
    """Let a run that did not succeed go on."""
    return request.write(service.retry, ref, body)
