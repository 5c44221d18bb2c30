"""Environments, what is deployed in them, and how the callers of a name are shared out."""

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
EndState = Literal["stopped", "rolled_back"]


class EnvironmentNotFound(NotFound):
    """There is no environment of this name."""

    code = "environment_not_found"


class DeploymentNotFound(NotFound):
    """There is no deployment of this id."""

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


class ServingDeployment(Value):
    """A deployment that answered at a moment."""

    environment: str
    name: str
    share: float = Field(description="Percent of users or sessions that it answered.")
    release: str
    release_id: str
    deployment_id: str
    rollout_id: str | None = Field(description="The rollout that shared calls out then.")
    live_at: Instant | None = Field(description="Null for a release that was being tried out.")


@dataclass(frozen=True)
class ShadowTerms:
    """How many live calls are copied to a release that is tried out."""

    share: float
    """Percent of calls."""
    concurrency: int
    """Copies at once; what is more is skipped."""


@dataclass(frozen=True)
class TrafficSplit:
    """Two deployments of one name that share its callers: `weight` percent of them go to the candidate."""

    id: str
    """The rollout's id; it also decides who belongs to which side."""
    baseline_id: str
    """The deployment that is live."""
    candidate_id: str
    """The deployment that is tried out."""
    weight: float
    shadow: ShadowTerms | None = None


@dataclass(frozen=True)
class RolloutHooks:
    """What rollouts, which deployments do not know, answer and do when deployments move.

    `server/app.py` registers it in the kernel; every call runs in the transaction of its context.
    """

    refuse_while_open: "Callable[[Context, str, str], None]"
    """(environment, name): raise RolloutActive when a rollout goes on there."""
    abort_open: "Callable[[Context, str, str, str], bool]"
    """(environment, name, note): abort the rollout that goes on there; False when there is none."""
    abort_for: "Callable[[Context, Deployment, str], bool]"
    """(deployment, note): abort the open rollout that brings the deployment in; False when there is none.

    Raises RolloutActive when the deployment is what a rollout goes back to.
    """
    begin: "Callable[[Context, Deployment], Deployment]"
    """The engines of a rollout's deployment answer: take the first step."""
    fail: "Callable[[Context, str, str], None]"
    """(rollout id, reason): its deployment has failed."""
    list_splits: "Callable[[Context], list[TrafficSplit]]"
    """What is shared out now."""
    list_splits_at: "Callable[[Context, datetime, str | None], list[TrafficSplit]]"
    """(moment, environment): what was shared out then, with the weights of then."""
