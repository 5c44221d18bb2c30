"""Environments, what is deployed in them, and the replicas that answer."""

from typing import Literal

from pydantic import Field

from tidemill.core.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from tidemill.core.wire import Body, Instant, Name, Value
from tidemill.deployments.rollouts.types import OPEN as OPEN
from tidemill.deployments.rollouts.types import Duration as Duration
from tidemill.deployments.rollouts.types import Rollout as Rollout
from tidemill.deployments.rollouts.types import RolloutCreate as RolloutCreate
from tidemill.deployments.rollouts.types import Step as Step
from tidemill.deployments.rollouts.types import Strategy as Strategy
from tidemill.releases.types import Policy

State = Literal["starting", "canary", "live", "superseded", "failed", "stopped", "rolled_back"]
ReplicaState = Literal["starting", "ready", "draining", "waiting"]


class EnvironmentNotFound(NotFound):
    """No environment of that name."""

    code = "environment_not_found"


class DeploymentNotFound(NotFound):
    """No such deployment."""

    code = "deployment_not_found"


class PromotionOutOfOrder(Conflict):
    """The release has not been live in the environment before this one."""

    code = "promotion_out_of_order"


class NotCleared(Conflict):
    """The environment asks for a gate or an approval that is not there."""

    code = "not_cleared"


class ForceNotAllowed(Forbidden):
    """Only an admin may pass over the rules of an environment."""

    code = "force_not_allowed"


class NothingToRollBack(Conflict):
    """There was no release before this one."""

    code = "nothing_to_roll_back"


class RollbackAmbiguous(Invalid):
    """Several releases live in the environment."""

    code = "rollback_ambiguous"


class NotDeployable(Conflict):
    """The release's model is in a form that no engine here serves."""

    code = "not_deployable"


class EngineUnavailable(Unavailable):
    """No replica of the model answers now."""

    code = "engine_unavailable"


class EnginesNotRunning(Unavailable):
    """This process runs no engines."""

    code = "engines_not_running"


class Environment(Value):
    """A place where releases are served."""

    name: str
    position: int = Field(description="Promotion goes from 1 upwards.")
    policy: Policy


class DeploymentCreate(Body):
    """Serve a release in an environment."""

    release: str = Field(description="`name`, `name@3` or a `rel_` id.")
    environment: Name
    replicas: int = Field(default=1, ge=1, le=64, description="How many engines serve it.")
    note: str = Field(default="", max_length=2000)
    force_reason: str | None = Field(
        default=None,
        min_length=1,
        max_length=2000,
        description="An admin's reason to pass over order, gate and approval. It is recorded.",
    )


class Rollback(Body):
    """Go back to the release that was live before."""

    name: Name | None = Field(default=None, description="Which release name; needed when several are live.")
    note: str = Field(default="", max_length=2000)


class Deployment(Value):
    """One release in one environment, from the order to its end. The list of them is the history."""

    id: str
    environment: str
    name: str = Field(description="The release's name: callers ask for `environment/name`.")
    release_id: str
    release: str = Field(description="Such as `support@3`.")
    state: State
    kind: Literal["deploy", "rollback"]
    replicas: int
    note: str
    forced: str | None = Field(description="Why an admin passed over the rules; null when nobody did.")
    approval_id: str | None = Field(description="The approval it stands on.")
    requested_by: str
    requested_at: Instant
    live_at: Instant | None
    ended_at: Instant | None
    error: str | None = Field(description="Why it failed or was rolled back.")
    rollout_id: str | None = Field(default=None, description="The rollout that brings it in; null without one.")


class Answering(Value):
    """A deployment that answered at a moment."""

    environment: str
    name: str
    share: float = Field(description="Percent of users or sessions that it answered.")
    release: str
    release_id: str
    deployment_id: str
    rollout_id: str | None = Field(description="The rollout that shared calls out then.")
    live_at: Instant | None = Field(description="Null for a release that was being tried out.")


class Replica(Value):
    """One engine as the supervisor sees it."""

    id: str
    serves: str = Field(description="Such as `support@3`.")
    state: ReplicaState
    pid: int | None
    base_url: str | None
    in_flight: int
    restarts: int
    pinned: bool = Field(description="Some environment needs it; others stop when they are idle.")
    error: str | None
    log: str = Field(description="Name of its log file in the home folder's `logs`.")


class Fleet(Value):
    """All engines of this server."""

    replicas: list[Replica]
    waiting: int = Field(description="Requests that wait for a place.")
