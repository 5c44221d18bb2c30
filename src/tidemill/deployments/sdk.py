"""`client.deployments`: what is served where."""

import time
from datetime import datetime

from tidemill.core.errors import Unavailable, nearest
from tidemill.core.http import Http
from tidemill.core.wire import Page
from tidemill.deployments.retirements.types import Retirement, RetirementCreate, RetirementNotFound, RetirementPage
from tidemill.deployments.types import (
    Deployment,
    DeploymentAmbiguous,
    DeploymentCreate,
    Environment,
    EnvironmentUpdate,
    OverridePolicy,
    Rollback,
    ServingDeployment,
)
from tidemill.engines.types import Fleet


class DeploymentPending(Unavailable):
    """The deployment still starts after the time to wait."""

    code = "deployment_pending"


class Deployments:
    """Releases in environments, and the engines behind them."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def environments(self) -> Page[Environment]:
        """Return every environment, in the order of promotion."""
        return self._http.get("/api/environments", Page[Environment])

    def update_environment(self, environment: str, *, overrides: OverridePolicy) -> Environment:
        """Change an environment's settings and return it. Raises EnvironmentNotFound."""
        body = EnvironmentUpdate(overrides=overrides)
        return self._http.patch(f"/api/environments/{environment}", Environment, body)

    def deploy(
        self,
        release: str,
        environment: str,
        *,
        replicas: int = 1,
        note: str = "",
        force_reason: str | None = None,
    ) -> Deployment:
        """Request a deployment; `wait` for it to be live. Raises PromotionOutOfOrder, NotCleared, ForceNotAllowed."""
        body = DeploymentCreate(
            release=self._http.release_ref(release),
            environment=environment,
            replicas=replicas,
            note=note,
            force_reason=force_reason,
        )
        return self._http.post("/api/deployments", Deployment, body)

    def rollback(self, environment: str, *, name: str | None = None, note: str = "") -> Deployment:
        """Request the release that was live before. Raises NothingToRollBack, RollbackAmbiguous."""
        return self._http.post(f"/api/environments/{environment}/rollback", Deployment, Rollback(name=name, note=note))

    def wait(self, deployment_id: str, *, timeout: float = 300.0) -> Deployment:
        """Return the deployment once it is live or has ended. Raises DeploymentPending after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while (deployment := self.get(deployment_id)).state == "starting":
            if time.monotonic() > deadline:
                raise DeploymentPending(
                    f"{deployment.release} is still starting in {deployment.environment} after {timeout:g} s.",
                    hint="A server has to run: `tidemill up`. `tidemill deployments engines` shows the engines.",
                )
            time.sleep(0.05)
        return deployment

    def get(self, deployment_id: str) -> Deployment:
        """Return one deployment. Raises DeploymentNotFound."""
        return self._http.get(f"/api/deployments/{deployment_id}", Deployment)

    def list(
        self,
        *,
        environment: str | None = None,
        name: str | None = None,
        at: datetime | None = None,
        active: bool = False,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Deployment]:
        """Return deployments, newest first; with `at` those of that time, with `active` starting and live ones."""
        params = {
            "environment": environment,
            "name": name,
            "at": at.isoformat() if at else None,
            "active": active,
            "cursor": cursor,
            "limit": limit,
        }
        return self._http.get("/api/deployments", Page[Deployment], params=params)

    def stop(self, deployment_id: str) -> Deployment:
        """End a deployment and return it. Raises DeploymentNotFound."""
        self._http.delete(f"/api/deployments/{deployment_id}")
        return self.get(deployment_id)

    def engines(self) -> Fleet:
        """Return the engines of the server."""
        return self._http.get("/api/engines", Fleet)

    def at(
        self, moment: datetime, *, environment: str | None = None, name: str | None = None
    ) -> Page[ServingDeployment]:
        """Return the deployments that served at a time, with their shares during a rollout."""
        params = {"at": moment.isoformat(), "environment": environment, "name": name}
        return self._http.get("/api/answering", Page[ServingDeployment], params=params)

    def retire(self, name: str, *, sunset: datetime, successor: str, note: str = "") -> Page[Retirement]:
        """Announce that `prod/support`, or `support` everywhere, goes out of service.

        Until the date replies carry `Deprecation` and `Sunset`; after it callers get 410 and the successor's name.
        Raises NothingToRetire, SunsetPassed.
        """
        body = RetirementCreate(name=name, sunset=sunset, successor=successor, note=note)
        return self._http.post("/api/retirements", Page[Retirement], body)

    def retirements(self) -> Page[Retirement]:
        """Return retirements, newest first."""
        return self._http.get("/api/retirements", Page[Retirement])

    def retirement(self, model: str) -> RetirementPage:
        """Return the retirement of `prod/support` with its callers. Raises RetirementNotFound."""
        return self._http.get(f"/api/retirements/{self._retired(model)}", RetirementPage)

    def keep(self, model: str) -> None:
        """Cancel the retirement of `prod/support`. Raises RetirementNotFound."""
        self._http.delete(f"/api/retirements/{self._retired(model)}")

    def _retired(self, ref: str) -> str:
        """Return `prod/name` for the name of a retirement where one environment has it."""
        if "/" in ref or not ref:
            return ref
        models = [retirement.model for retirement in self.retirements().items]
        matches = [model for model in models if model.partition("/")[2] == ref]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise DeploymentAmbiguous(
                f"{ref!r} is retired in {len(matches)} places.", hint=f"Say {', '.join(matches)}."
            )
        near = nearest(ref, models)
        hint = f"Did you mean {', '.join(near)}?" if near else "`tidemill deployments retirements` lists them."
        raise RetirementNotFound(f"{ref!r} is not being retired.", hint=hint)
