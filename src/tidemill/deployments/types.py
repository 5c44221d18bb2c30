"""Environments, their deployments, and the traffic splits between deployments."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tidemill.core.errors import Conflict, Forbidden, Invalid, NotFound
from tidemill.core.wire import Body, Instant, Name, Value
from tidemill.releases.types import Policy

if TYPE_CHECKING:
    from tidemill.core.kernel import Context

State = Literal["starting", "canary", "live", "superseded", "failed", "stopped", "rolled_back"]
OverridePolicy = Literal["allow", "refuse"]
EndState = Literal["stopped", "rolled_back"]


class EnvironmentNotFound(NotFound):
    """There is no environment of this name."""

    code = "environment_not_found"


class DeploymentAmbiguous(Conflict):
    """Several environments serve this name."""

    code = "deployment_ambiguous"


class DeploymentNotFound(NotFound):
    """There is no deployment of this id, or none serves this name."""

    code = "deployment_not_found"


class PromotionOutOfOrder(Conflict):
    """The release has not been live in the environment before this one."""

    code = "promotion_out_of_order"


class NotCleared(Conflict):
    """The release lacks a gate's pass or an approval that the environment requires."""

    code = "not_cleared"


class ForceNotAllowed(Forbidden):
    """Only an admin may pass over the rules of an environment."""

    code = "force_not_allowed"


class NothingToRollBack(Conflict):
    """No other release was live before."""

    code = "nothing_to_roll_back"


class RollbackAmbiguous(Invalid):
    """Several releases are live in the environment."""

    code = "rollback_ambiguous"


class NotDeployable(Conflict):
    """No engine here serves the format of the release's model."""

    code = "not_deployable"


class Environment(Value):
    """A place where releases are served."""

    name: str
    position: int = Field(description="Promotion goes from 1 upwards.")
    policy: Policy
    overrides: OverridePolicy = Field(
        default="allow",
        description="Whether callers may set fields such as `temperature` other than the release has them. What they "
        "set is recorded with the call; `refuse` answers 400.",
    )


class EnvironmentUpdate(Body):
    """Settings of an environment to change."""

    overrides: OverridePolicy = Field(description="`allow` and record what callers override, or `refuse` it.")


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
    """One release in one environment, from the request to its end. The list of them is the history."""

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
    approval_id: str | None = Field(description="The approval that allowed it.")
    requested_by: str
    requested_at: Instant
    live_at: Instant | None
    ended_at: Instant | None
    error: str | None = Field(description="Why it failed or was rolled back.")
    rollout_id: str | None = Field(default=None, description="The rollout that brings it in; null without one.")


class ServingDeployment(Value):
    """A deployment that served at a given time, and its share of the traffic."""

    environment: str
    name: str
    share: float = Field(description="Percent of users or sessions that it answered.")
    release: str
    release_id: str
    deployment_id: str
    rollout_id: str | None = Field(description="The rollout that split the traffic then.")
    live_at: Instant | None = Field(description="Null for a canary.")


@dataclass(frozen=True)
class ShadowTerms:
    """How many live calls are copied to a candidate release."""

    share: float
    """Percent of calls."""
    concurrency: int
    """Copies at once; what is more is skipped."""


@dataclass(frozen=True)
class TrafficSplit:
    """Two deployments of one name that share its callers: `weight` percent of them go to the candidate."""

    id: str
    """The rollout's id; it also seeds the assignment of callers."""
    baseline_id: str
    """The deployment that is live."""
    candidate_id: str
    """The canary, or the shadow deployment."""
    weight: float
    shadow: ShadowTerms | None = None


@dataclass(frozen=True)
class RolloutHooks:
    """The callbacks of rollouts, which deployments do not import.

    `server/app.py` registers it in the kernel; every call runs in the transaction of its context.
    """

    refuse_while_open: "Callable[[Context, str, str], None]"
    """(environment, name): raise RolloutActive when a rollout is open there."""
    abort_open: "Callable[[Context, str, str, str], bool]"
    """(environment, name, note): abort the open rollout; False when there is none."""
    abort_for: "Callable[[Context, Deployment, str], bool]"
    """(deployment, note): abort the open rollout of the deployment; False when there is none.

    Raises RolloutActive when the deployment is the baseline of a rollout.
    """
    begin: "Callable[[Context, Deployment], Deployment]"
    """(deployment): enter the first step, as the engines of the deployment answer."""
    fail: "Callable[[Context, str, str], None]"
    """(rollout id, reason): its deployment has failed."""
    list_splits: "Callable[[Context], list[TrafficSplit]]"
    """Return the traffic splits of now."""
    list_splits_at: "Callable[[Context, datetime, str | None], list[TrafficSplit]]"
    """(time, environment): return the traffic splits of that time, with their weights."""
