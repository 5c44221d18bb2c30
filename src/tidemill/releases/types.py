"""Releases, the gates that judge them, and the approvals that allow their deployment."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from tidemill.core.errors import Conflict, Forbidden, Invalid, NotFound
from tidemill.core.wire import Body, Instant, Name, Value
from tidemill.evals.types import Comparison, Direction, FailurePolicy, MetricRule, Outcome, RuleKind
from tidemill.registry.types import Format, ModelFile
from tidemill.registry.types import Kind as ModelKind

if TYPE_CHECKING:
    from tidemill.core.kernel import Context

Verdict = Outcome
GateKind = RuleKind
ApprovalState = Literal["pending", "approved", "rejected", "expired", "withdrawn"]


class Policy(Value):
    """What an environment requires of a release."""

    gate: bool = Field(description="Every gate evaluated for the release must pass, and there must be one.")
    approval: bool = Field(description="Another person than the requester must approve.")


POLICIES: dict[str, Policy] = {
    "dev": Policy(gate=False, approval=False),
    "qa": Policy(gate=False, approval=False),
    "prod": Policy(gate=True, approval=True),
}
"""The policy of each environment. An environment that is not listed has the strictest."""

STRICTEST = Policy(gate=True, approval=True)


class Sampling(Value):
    """Sampling parameters. A null parameter is left to the engine."""

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    stop: list[str] = Field(default_factory=list)
    seed: int | None = None
    response_format: dict[str, Any] | None = Field(
        default=None, description="As in OpenAI's chat completions, such as a `json_schema`."
    )


class FrozenModel(Value):
    """A model version as a release stores it."""

    version_id: str
    ref: str = Field(description="Such as `smollm2@1`.")
    kind: ModelKind
    format: Format
    files: list[ModelFile]
    content_hash: str
    chat_template_hash: str | None


class FrozenMessage(Value):
    """One prompt message, with its `{{variables}}` still open."""

    role: str
    content: str


class FrozenPrompt(Value):
    """A prompt version as a release stores it."""

    version_id: str
    ref: str = Field(description="Such as `support@2`.")
    messages: list[FrozenMessage]


class Manifest(Value):
    """Everything in a release that determines its answers."""

    model: FrozenModel
    adapter: FrozenModel | None = None
    prompt: FrozenPrompt | None = None
    sampling: Sampling = Field(default_factory=Sampling)
    tools: list[dict[str, Any]] = Field(default_factory=list, description="Empty for now.")
    guards: list[str] = Field(default_factory=list, description="Empty for now.")
    index: str | None = Field(default=None, description="Null for now.")


class ReleaseCreate(Body):
    """The parts of a new release."""

    name: Name
    model: str = Field(description="A servable model version: `name@3`, `name@alias` or `mv_…`.")
    adapter: str | None = Field(default=None, description="An adapter of that model version.")
    prompt: str | None = Field(default=None, description="A prompt version: `name`, `name@2`, `name@label` or `pv_…`.")
    sampling: Sampling = Field(default_factory=Sampling)
    note: str = Field(default="", max_length=2000)


class Release(Value):
    """A frozen, numbered set of model, prompt and sampling. It never changes."""

    id: str
    name: Name
    number: int
    content_hash: str = Field(description="Hash over the manifest without row ids.")
    manifest: Manifest
    note: str
    created_at: Instant
    created_by: str = Field(description="Id of the person.")

    @property
    def ref(self) -> str:
        """How a person names it, such as `support@3`."""
        return f"{self.name}@{self.number}"


class ManifestChange(Value):
    """One difference between two releases."""

    path: str = Field(description="Where in the manifest, such as `sampling.temperature`.")
    before: Any = None
    after: Any = None


class ReleaseDiff(Value):
    """What differs between two releases. Nothing differs when `changes` is empty."""

    before: str
    after: str
    changes: list[ManifestChange]


class Guardrail(Value):
    """A metric that must not get worse by more than its margin."""

    metric: str
    margin: float = Field(ge=0, description="How much worse it may be, in the metric's own unit.")
    direction: Direction = Field(default="higher", description="Which way is better.")


class GateTerms(Value):
    """The terms of a gate: all that decides its verdict."""

    eval_set: str = Field(description="`name`, `name@3` or an `es_` id; a declared gate holds the id.")
    metric: str = Field(description="The one primary metric.")
    direction: Direction = Field(default="higher", description="Which way is better.")
    kind: GateKind = "improvement"
    minimum_effect: float | None = Field(
        default=None, gt=0, description="Improvement: the smallest difference worth finding; power is planned for it."
    )
    margin: float | None = Field(default=None, gt=0, description="Non-inferiority: how much worse it may be.")
    guardrails: list[Guardrail] = Field(default_factory=list)
    alpha: float = Field(default=0.05, gt=0, lt=0.5, description="How often a gate may pass wrongly.")
    power: float = Field(default=0.8, gt=0.5, lt=1, description="How often it should find the minimum effect.")
    failures: FailurePolicy = Field(
        default="refuse", description="Items without an answer: refuse to judge, score them 0, or drop the pair."
    )

    @property
    def primary(self) -> MetricRule:
        """The rule of the primary metric."""
        return MetricRule(
            metric=self.metric,
            kind=self.kind,
            minimum_effect=self.minimum_effect,
            margin=self.margin,
            direction=self.direction,
        )

    @property
    def guards(self) -> list[MetricRule]:
        """The rules of the guardrail metrics."""
        return [
            MetricRule(metric=g.metric, kind="non_inferiority", margin=g.margin, direction=g.direction)
            for g in self.guardrails
        ]

    @model_validator(mode="after")
    def _complete(self) -> "GateTerms":
        if self.kind == "improvement" and (self.minimum_effect is None or self.margin is not None):
            raise ValueError("an improvement gate needs `minimum_effect`, and no `margin`")
        if self.kind == "non_inferiority" and (self.margin is None or self.minimum_effect is not None):
            raise ValueError("a non-inferiority gate needs `margin`, and no `minimum_effect`")
        metrics = [self.metric, *(g.metric for g in self.guardrails)]
        if len(set(metrics)) != len(metrics):
            raise ValueError("a metric may be named only once, as primary or as guardrail")
        return self


class GateCreate(GateTerms):
    """Declare a gate before its evaluation."""

    name: Name
    new_version: bool = Field(
        default=False, description="Declare a new version when the newest one has been used already."
    )


class Gate(GateTerms):
    """A declared gate. Once an evaluation has used it, it never changes."""

    id: str
    name: Name
    number: int
    hash: str = Field(description="Hash over the terms; it is stored and checked at every evaluation.")
    declared_at: Instant = Field(description="Only runs that started later count as evidence.")
    declared_by: str
    used: bool = Field(description="An evaluation has used it.")

    @property
    def ref(self) -> str:
        """How a person names it, such as `trec-quality@1`."""
        return f"{self.name}@{self.number}"


class GateEvaluate(Body):
    """Judge a release by a gate on two finished eval runs."""

    release: str
    gate: str
    baseline_run: str
    candidate_run: str


class GateResult(Value):
    """The verdict of a gate on a release, with its evidence."""

    id: str
    release_id: str
    gate_id: str
    gate: str = Field(description="Such as `trec-quality@1`.")
    gate_hash: str
    comparison_id: str = Field(description="The comparison in `evals` with all figures.")
    baseline_run: str
    candidate_run: str
    verdict: Verdict
    summary: str
    warnings: list[str]
    evidence: Comparison = Field(description="The comparison with all figures, as it was judged.")
    at: Instant
    by: str


class ApprovalRequest(Body):
    """Ask that a release may go to an environment."""

    release: str
    environment: Name = "prod"
    note: str = Field(default="", max_length=2000)
    valid_hours: int = Field(default=168, ge=1, le=8760, description="After this the request, or the approval, lapses.")


class ApprovalDecision(Body):
    """Approve or reject."""

    decision: Literal["approve", "reject"]
    reason: str = Field(min_length=1, max_length=2000)
    override: str | None = Field(
        default=None,
        min_length=1,
        max_length=2000,
        description="Why a release without a passed gate may go all the same.",
    )


class Approval(Value):
    """A request to deploy a release to an environment, and its decision."""

    id: str
    release_id: str
    release: str = Field(description="Such as `support@3`.")
    release_hash: str
    environment: Name
    state: ApprovalState
    note: str
    requested_by: str
    requested_by_name: str
    requested_at: Instant
    expires_at: Instant
    verdict: Verdict | None = Field(description="The gates' verdict: at the decision, or now while pending.")
    gate_results: list[str] = Field(description="Ids of the gate results behind the verdict.")
    decided_by: str | None
    decided_by_name: str | None
    decided_at: Instant | None
    reason: str | None
    override: str | None
    withdrawn_at: Instant | None = None
    withdrawn_by_name: str | None = None
    withdrawn_reason: str | None = None


class ApprovalWithdrawal(Body):
    """Take back a request, or an approval that was given."""

    reason: str = Field(min_length=1, max_length=2000)


class Clearance(Value):
    """Whether a release may go to an environment now."""

    release_id: str
    environment: Name
    allowed: bool
    reasons: list[str] = Field(description="Why not; empty when it may.")
    verdict: Verdict | None
    approval: Approval | None
    live_since: Instant | None = Field(default=None, description="Since when it is live there; null when it is not.")


@dataclass(frozen=True)
class LiveReleases:
    """Knows what is live, which deployments know and releases do not. Registered in the kernel."""

    find_since: "Callable[[Context, str, str], datetime | None]"
    """(release id, environment): since when the release is live there, or None."""


class EvidencePage(Value):
    """The evidence page of a release."""

    release: Release
    markdown: str


class ReleaseNotFound(NotFound):
    """No release has this name, number or id."""

    code = "release_not_found"


class GateNotFound(NotFound):
    """No gate has this name, number or id."""

    code = "gate_not_found"


class ApprovalNotFound(NotFound):
    """No approval has this id."""

    code = "approval_not_found"


class ModelNotServable(Conflict):
    """A model version without a passed parity proof cannot be released."""

    code = "model_not_servable"


class InvalidRelease(Invalid):
    """The parts of the release do not fit together."""

    code = "invalid_release"


class GateChangedAfterEvaluation(Conflict):
    """The gate has judged an evaluation, so its terms cannot change."""

    code = "gate_changed_after_evaluation"


class ApprovalPending(Conflict):
    """Somebody else has asked for the same already."""

    code = "approval_pending"


class RunBeforeGate(Conflict):
    """The run started before the gate was declared, so it is no evidence."""

    code = "run_before_gate"


class UnfitEvidence(Conflict):
    """The run does not fit the gate or the release."""

    code = "unfit_evidence"


class SelfApproval(Forbidden):
    """The requester cannot approve."""

    code = "self_approval"


class OverrideNeeded(Conflict):
    """Approving without a passed gate needs a reason of its own."""

    code = "override_needed"


class ApprovalClosed(Conflict):
    """The request has been decided or has lapsed already."""

    code = "approval_closed"
