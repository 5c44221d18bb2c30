"""`client.evals`: eval sets, runs, comparisons, and what a set can see."""

from collections.abc import Callable
from typing import Any

from tidemill.core.http import Http
from tidemill.core.wire import Page
from tidemill.evals.online.sdk import Online
from tidemill.evals.types import (
    Comparison,
    ComparisonSpec,
    EvalItem,
    EvalMapping,
    EvalPlan,
    EvalPlanRequest,
    EvalResult,
    EvalRun,
    EvalSet,
    EvalSetCreate,
    MetricRule,
    RunCreate,
    ScorerSpec,
)
from tidemill.jobs.sdk import Jobs
from tidemill.jobs.types import Job


class Evals:
    """Measuring answers, and comparing what was measured."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self.online = Online(http)

    def create_set(
        self, name: str, dataset: str, *, split: str = "test", limit: int | None = None, **mapping: Any
    ) -> EvalSet:
        """Make an eval set of a dataset version's split; `mapping` takes the fields of EvalMapping."""
        body = EvalSetCreate(name=name, dataset=dataset, split=split, limit=limit, mapping=EvalMapping(**mapping))
        return self._http.post("/api/evals/sets", EvalSet, body)

    def get_set(self, ref: str) -> EvalSet:
        """Return one eval set: `name`, `name@3` or an id. Raises EvalSetNotFound."""
        return self._http.get(f"/api/evals/sets/{ref}", EvalSet)

    def sets(self, *, cursor: str | None = None, limit: int = 50) -> Page[EvalSet]:
        """Return a page of eval sets, newest first."""
        return self._http.get("/api/evals/sets", Page[EvalSet], {"cursor": cursor, "limit": limit})

    def items(self, ref: str, *, cursor: str | None = None, limit: int = 50) -> Page[EvalItem]:
        """Return the items of an eval set, in order."""
        return self._http.get(f"/api/evals/sets/{ref}/items", Page[EvalItem], {"cursor": cursor, "limit": limit})

    def run(
        self,
        eval_set: str,
        target: dict[str, Any],
        scorers: list[ScorerSpec | dict[str, Any] | str],
        **options: Any,
    ) -> EvalRun:
        """Start a run; it goes on as a durable job (`wait`). `options` are the other fields of RunCreate.

        `target` is `{"release": "name@3"}` (or `name`, an id, `prod/name`), `{"base_url": ..., "model": ...}`, or
        `{"dataset": "name@1"}` for the Naive Bayes baseline.
        A scorer is a name, or a dict with `scorer`, `name` and `config`.
        """
        specs = [s if isinstance(s, ScorerSpec) else {"scorer": s} if isinstance(s, str) else s for s in scorers]
        if isinstance(target.get("release"), str):
            target = {**target, "release": self._http.release_ref(target["release"])}
        body = RunCreate.model_validate({"eval_set": eval_set, "target": target, "scorers": specs, **options})
        return self._http.post("/api/evals/runs", EvalRun, body)

    def baseline(
        self,
        eval_set: str,
        dataset: str,
        scorers: list[ScorerSpec | dict[str, Any] | str],
        *,
        split: str = "train",
        **options: Any,
    ) -> EvalRun:
        """Start a run of Naive Bayes trained on a split of labelled texts: what any model must beat."""
        return self.run(eval_set, {"dataset": dataset, "split": split}, scorers, **options)

    def wait(self, run_id: str, *, timeout: float | None = None, watch: Callable[[Job], None] | None = None) -> EvalRun:
        """Return the run when it has ended well; `watch` gets each change of its job.

        Raises JobFailed, JobCancelledError, JobWaitTimeout.
        """
        run = self.get_run(run_id)
        if run.job_id is not None:
            Jobs(self._http).wait(run.job_id, timeout=timeout, watch=watch)
        return self.get_run(run_id)

    def get_run(self, run_id: str) -> EvalRun:
        """Return one run with its figures. Raises EvalRunNotFound."""
        return self._http.get(f"/api/evals/runs/{run_id}", EvalRun)

    def runs(self, *, eval_set: str | None = None, cursor: str | None = None, limit: int = 50) -> Page[EvalRun]:
        """Return a page of eval runs, newest first."""
        params = {"eval_set": eval_set, "cursor": cursor, "limit": limit}
        return self._http.get("/api/evals/runs", Page[EvalRun], params)

    def results(
        self, run_id: str, *, failed: bool | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[EvalResult]:
        """Answers and failures of a run, in the order of its items."""
        params = {"failed": failed, "cursor": cursor, "limit": limit}
        return self._http.get(f"/api/evals/runs/{run_id}/results", Page[EvalResult], params)

    def compare(
        self,
        baseline: str,
        candidate: str,
        primary: MetricRule | dict[str, Any],
        *,
        guardrails: list[MetricRule | dict[str, Any]] | None = None,
        **options: Any,
    ) -> Comparison:
        """Return the verdict on two runs. `options` are `alpha`, `power` and `failures` (see ComparisonSpec)."""
        values = {"baseline_run": baseline, "candidate_run": candidate, "primary": primary, **options}
        body = ComparisonSpec.model_validate(values | {"guardrails": guardrails or []})
        return self._http.post("/api/evals/comparisons", Comparison, body)

    def get_comparison(self, comparison_id: str) -> Comparison:
        """Return the comparison of an id. Raises ComparisonNotFound."""
        return self._http.get(f"/api/evals/comparisons/{comparison_id}", Comparison)

    def comparisons(self, *, run_id: str | None = None, cursor: str | None = None, limit: int = 50) -> Page[Comparison]:
        """Return a page of comparisons, newest first."""
        params = {"run_id": run_id, "cursor": cursor, "limit": limit}
        return self._http.get("/api/evals/comparisons", Page[Comparison], params)

    def plan(self, eval_set: str, **assumptions: Any) -> EvalPlan:
        """Return what a set can see, before a run. `assumptions` are the fields of EvalPlanRequest."""
        return self._http.post("/api/evals/plan", EvalPlan, EvalPlanRequest(eval_set=eval_set, **assumptions))
