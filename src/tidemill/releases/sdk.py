"""`client.releases` and `client.gates`."""

from typing import Any

from tidemill.core.http import Http
from tidemill.core.wire import Page
from tidemill.releases.types import (
    Approval,
    ApprovalDecision,
    ApprovalRequest,
    ApprovalWithdrawal,
    Clearance,
    EvidencePage,
    Gate,
    GateCreate,
    GateEvaluate,
    GateResult,
    Release,
    ReleaseCreate,
    ReleaseDiff,
    Sampling,
)


class Releases:
    """Releases, their evidence and their approvals."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def create(
        self,
        name: str,
        *,
        model: str,
        adapter: str | None = None,
        prompt: str | None = None,
        sampling: Sampling | dict[str, Any] | None = None,
        note: str = "",
    ) -> Release:
        """Freeze a release; returns the existing one for the same content. Raises ModelNotServable, InvalidRelease."""
        body = ReleaseCreate(
            name=name,
            model=model,
            adapter=adapter,
            prompt=prompt,
            sampling=Sampling.model_validate(sampling or {}),
            note=note,
        )
        return self._http.post("/api/releases", Release, body)

    def get(self, ref: str) -> Release:
        """Return one release: `name` (newest), `name@3`, an id, or `prod/name` (live there). Raises ReleaseNotFound."""
        return self._http.get(f"/api/releases/{self._http.release_ref(ref)}", Release)

    def list(self, *, name: str | None = None, cursor: str | None = None, limit: int = 50) -> Page[Release]:
        """Return releases, newest first."""
        return self._http.get("/api/releases", Page[Release], {"name": name, "cursor": cursor, "limit": limit})

    def diff(self, before: str, after: str) -> ReleaseDiff:
        """Return the differences between two releases."""
        return self._http.get(
            f"/api/releases/{self._http.release_ref(before)}/diff",
            ReleaseDiff,
            {"after": self._http.release_ref(after)},
        )

    def evidence(self, ref: str) -> EvidencePage:
        """Return the evidence page of a release, as Markdown."""
        return self._http.get(f"/api/releases/{self._http.release_ref(ref)}/evidence", EvidencePage)

    def verdicts(self, ref: str) -> Page[GateResult]:
        """Return every gate's verdict on a release, newest first."""
        return self._http.get(f"/api/releases/{self._http.release_ref(ref)}/verdicts", Page[GateResult])

    def clearance(self, ref: str, environment: str = "prod") -> Clearance:
        """Return whether a release may go to an environment, and if not, why not."""
        return self._http.get(f"/api/releases/{self._http.release_ref(ref)}/clearance/{environment}", Clearance)

    def request(self, release: str, *, environment: str = "prod", note: str = "", valid_hours: int = 168) -> Approval:
        """Request approval of a release for an environment. Raises ApprovalPending."""
        body = ApprovalRequest(
            release=self._http.release_ref(release), environment=environment, note=note, valid_hours=valid_hours
        )
        return self._http.post("/api/approvals", Approval, body)

    def approve(self, approval_id: str, *, reason: str, override: str | None = None) -> Approval:
        """Approve a request. Raises SelfApproval, OverrideNeeded, ApprovalClosed."""
        return self._decide(approval_id, ApprovalDecision(decision="approve", reason=reason, override=override))

    def reject(self, approval_id: str, *, reason: str) -> Approval:
        """Reject a request. Raises ApprovalClosed."""
        return self._decide(approval_id, ApprovalDecision(decision="reject", reason=reason))

    def withdraw(self, approval_id: str, *, reason: str) -> Approval:
        """Take back a request or an approval; what is live stays live. Raises ApprovalClosed."""
        body = ApprovalWithdrawal(reason=reason)
        return self._http.post(f"/api/approvals/{approval_id}/withdrawal", Approval, body)

    def _decide(self, approval_id: str, body: ApprovalDecision) -> Approval:
        return self._http.post(f"/api/approvals/{approval_id}/decision", Approval, body)

    def approval(self, approval_id: str) -> Approval:
        """Return one approval. Raises ApprovalNotFound."""
        return self._http.get(f"/api/approvals/{approval_id}", Approval)

    def approvals(
        self,
        *,
        release: str | None = None,
        environment: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Approval]:
        """Return approvals in their present state, newest first."""
        params = {
            "release": self._http.release_ref(release) if release else release,
            "environment": environment,
            "cursor": cursor,
            "limit": limit,
        }
        return self._http.get("/api/approvals", Page[Approval], params)


class Gates:
    """Gates, which are declared before the evaluations that they judge."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def declare(self, gate: GateCreate | dict[str, Any]) -> Gate:
        """Declare a gate; returns the existing one for the same terms. Raises GateChangedAfterEvaluation."""
        return self._http.post("/api/gates", Gate, GateCreate.model_validate(gate))

    def get(self, ref: str) -> Gate:
        """Return one gate: `name` (newest), `name@3` or an id. Raises GateNotFound."""
        return self._http.get(f"/api/gates/{ref}", Gate)

    def list(self, *, cursor: str | None = None, limit: int = 50) -> Page[Gate]:
        """Return gates, newest first."""
        return self._http.get("/api/gates", Page[Gate], {"cursor": cursor, "limit": limit})

    def evaluate(self, gate: str, release: str, *, baseline_run: str, candidate_run: str) -> GateResult:
        """Judge a release by a gate on two finished runs. Raises RunBeforeGate, UnfitEvidence."""
        body = GateEvaluate(
            release=self._http.release_ref(release), gate=gate, baseline_run=baseline_run, candidate_run=candidate_run
        )
        return self._http.post("/api/gate-results", GateResult, body)
