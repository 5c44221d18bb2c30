"""Types of the gateway: targets and leases of a request, recorded calls, and errors."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import Field

from tidemill.core.actors import Actor
from tidemill.core.errors import BadRequest, Failed, Invalid, NotFound, TidemillError, Unavailable, nearest
from tidemill.core.wire import Instant, Value
from tidemill.prompts.types import Message

if TYPE_CHECKING:
    from tidemill.core.kernel import Context

Status = Literal["ok", "error", "aborted"]


class CallNotFound(NotFound):
    """No call of that id is recorded."""

    code = "call_not_found"


class UnknownEnvironment(Invalid):
    """No environment has this name."""

    code = "environment_unknown"


@dataclass(frozen=True)
class EnvironmentNames:
    """Lists all environments, which deployments know and the gateway does not. Registered in the kernel."""

    names: Callable[["Context"], list[str]]


class UnknownModel(NotFound):
    """No deployment, release or model version has this name."""

    code = "model_not_found"


def unknown_model(name: str, names: list[str]) -> UnknownModel:
    """Return the error for an unknown model name, with the `names` most like it."""
    near = nearest(name, names)
    if near:
        hint = f"Did you mean {', '.join(near)}?"
    elif names:
        hint = "`tidemill deployments list` shows what is served; `GET /v1/models` lists all that can be asked for."
    else:
        hint = "Nothing can be asked for yet. Serve a release: tidemill deploy RELEASE --env dev"
    return UnknownModel(f"There is no model {name!r}.", hint=hint, param="model", details={"nearest": near})


class RequestInvalid(BadRequest):
    """The body is not a chat request."""

    code = "invalid_request"


class ParameterUnknown(BadRequest):
    """The body has a field that a chat request does not have."""

    code = "unknown_parameter"


class ParameterUnsupported(BadRequest):
    """The body has a field that OpenAI knows and that the engine behind the model does not honour."""

    code = "unsupported_parameter"


class OverridesRefused(BadRequest):
    """The caller sets a field that the release has set, where the environment lets nobody do so."""

    code = "overrides_refused"


class UnknownRoute(NotFound):
    """`/v1` has no such path, or the path takes another method."""

    code = "unknown_route"


class EngineDied(Unavailable):
    """The engine ended before its answer was complete."""

    code = "engine_died"


class EngineRefused(Failed):
    """The engine answered with an error of its own."""

    code = "engine_refused"


class Overloaded(Unavailable):
    """Too many requests wait for a replica."""

    code = "overloaded"


class UpstreamTimeout(TidemillError):
    """The engine sent nothing for too long."""

    code = "upstream_timeout"
    status = 504


@dataclass(frozen=True)
class ReplicaTarget:
    """One running replica, and what every request to it needs."""

    base_url: str
    replica_id: str
    label: str
    """The model's name in the response, such as `support@3`."""
    model_version_id: str
    release_id: str | None = None
    deployment_id: str | None = None
    environment: str | None = None
    prompt: tuple[Message, ...] = ()
    prompt_ref: str | None = None
    """The prompt's name and version, such as `support@2`."""
    sampling: dict[str, Any] = field(default_factory=dict)
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """Headers of every response from here, such as `Sunset`."""
    shadow: "ShadowSink | None" = None
    """Gets a copy of every call answered from here; None without a shadow rollout."""
    refuses_overrides: bool = False
    """Whether its environment refuses fields that would change what the release answers."""
    supports_tools: bool = True
    """Whether the engine shows `tools` to the model: its chat template decides."""


class Lease(Protocol):
    """A slot of a replica, leased while one request runs."""

    @property
    def target(self) -> ReplicaTarget:
        """The replica to send the request to."""
        ...

    def release(self, *, broken: bool = False) -> None:
        """Release the slot; `broken` tells that the replica did not answer."""
        ...


@dataclass(frozen=True)
class ShadowResult:
    """A live answer and the one that the candidate of a rollout gave to the same call; times in milliseconds."""

    call_id: str
    input: tuple[dict[str, Any], ...]
    live: str
    live_ms: float
    text: str | None
    ms: float
    usage: "Usage"
    user: str | None
    session: str | None
    error: str | None
    size: int = 0
    """Bytes of the request and both answers, about."""


class ShadowSink(Protocol):
    """Samples the calls that are repeated against the candidate, and stores the results."""

    def offer(self, call_id: str, ask: Callable[[Lease], Awaitable[ShadowResult]]) -> None:
        """Offer an answered call; if it is sampled, `ask` repeats it against the candidate in the background."""
        ...


class ModelObject(Value):
    """A model in OpenAI's shape, as `/v1/models` lists it."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "tidemill"
    shutdown_date: int | None = None


class Router(Protocol):
    """Routes model names to replicas."""

    async def acquire(self, model: str, actor: Actor, affinity: str | None = None) -> Lease:
        """Lease a slot of a replica of `model`; waits while one starts or all are busy.

        During a rollout, requests of equal `affinity` go to the same release.

        Raises UnknownModel, RoleMissing, Overloaded, Unavailable.
        """
        ...

    async def models(self) -> list[ModelObject]:
        """Return every model name that can be requested now."""
        ...


class Usage(Value):
    """Token counts of one call."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


class Call(Value):
    """One recorded call."""

    id: str = Field(description="The id of the reply, `chatcmpl-…`.")
    request_id: str = Field(description="The reply's `x-request-id`.")
    trace_id: str = Field(description="The trace it is a part of: the caller's, or one of its own.")
    span_id: str
    model: str = Field(description="The name that was asked for.")
    release_id: str | None
    model_version_id: str | None
    environment: str | None
    deployment_id: str | None
    prompt: str | None = Field(description="The release's prompt version, such as `support@2`.")
    caller_id: str = Field(description="Id of the person behind the key.")
    caller_name: str
    key_id: str | None
    user: str | None = Field(description="The caller's own user, as the request or its headers name one.")
    session: str | None = Field(description="The conversation, as the request or its headers name one.")
    stream: bool
    status: Status = Field(description="`aborted`: the client disconnected before the end.")
    http_status: int
    error_code: str | None
    finish_reason: str | None
    prompt_tokens: int | None = Field(description="null: not known, as the engine never came to the end of the prompt.")
    completion_tokens: int
    cached_tokens: int = Field(description="Part of the prompt tokens that the engine had at hand already.")
    cost_usd: float | None = Field(description="By the price rules; null without one for its model.")
    overrides: list[str] = Field(description="Fields that the caller set other than the release has them.")
    ignored: list[str] = Field(default_factory=list, description="Fields of the request that have no effect here.")
    attempts: int = Field(description="1; more when a replica failed before the first byte.")
    ttft_ms: float | None = Field(description="Time to the first token; null when the reply came in one piece.")
    latency_ms: float
    started_at: Instant
    ended_at: Instant


class RecorderStats(Value):
    """Counts of the call recorder."""

    recorded: int = Field(description="Calls written since the server started.")
    waiting: int = Field(description="Calls that still wait to be written.")
    lost: int = Field(description="Calls that were answered but could not be written.")
