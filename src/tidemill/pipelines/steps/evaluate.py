"""Steps that measure and judge: eval sets, gates declared before, runs, verdicts against what is in production."""

from typing import Any

from tidemill.core.kernel import Context
from tidemill.deployments import service as deployments
from tidemill.evals import service as evals
from tidemill.evals.types import (
    BaselineTarget,
    EvalRun,
    EvalSetCreate,
    EvalTarget,
    ReleaseTarget,
    RunCreate,
)
from tidemill.pipelines import store
from tidemill.pipelines.steps.context import CacheInputs, StepContext, StepInputs, StepResult
from tidemill.pipelines.types import EvalSection, GateRefused, GateSection, NothingMeasured
from tidemill.releases import service as releases
from tidemill.releases.types import GateCreate, GateEvaluate, GateResult, Release, ReleaseCreate

BASE_MODEL, NAIVE_BAYES = "base_model", "naive_bayes"


# ---------------------------------------------------------------------- declared before anything is measured


def _eval_set_body(inputs: StepInputs) -> EvalSetCreate:
    section = inputs.eval
    dataset = section.dataset or inputs.outputs_of("data")["version_id"]
    return EvalSetCreate(
        name=section.name, dataset=dataset, split=section.split, mapping=section.mapping, limit=section.limit
    )


def set_inputs(ctx: Context, inputs: StepInputs) -> CacheInputs:
    """Return which rows become items, and how."""
    return _eval_set_body(inputs).model_dump(mode="json")


def run_set(context: StepContext) -> StepResult:
    """Create the eval set; equal rows give the existing set."""
    body = _eval_set_body(context)
    gathered = evals.prepare_items(context.kernel, body)  # before the transaction: others must write meanwhile
    with context.job_context.write() as ctx:
        eval_set = evals.create_set(ctx, body, gathered)
    return StepResult(
        {"set_id": eval_set.id, "ref": eval_set.ref},
        f"{eval_set.ref}: {eval_set.items} items in {eval_set.clusters} clusters",
    )


def _gate_body(inputs: StepInputs) -> GateCreate:
    section = inputs.gate
    fields: dict[str, Any] = section.model_dump(exclude={"eval", "against", "otherwise"}) | {
        "eval_set": inputs.outputs_of(f"eval-set/{section.eval}")["set_id"],
        "new_version": True,
    }
    return GateCreate.model_validate(fields)


def gate_inputs(ctx: Context, inputs: StepInputs) -> CacheInputs:
    """Return the terms of the gate."""
    return _gate_body(inputs).model_dump(mode="json")


def run_gate(context: StepContext) -> StepResult:
    """Declare the gate, or return the one of the same terms."""
    with context.job_context.write() as ctx:
        gate = releases.declare_gate(ctx, _gate_body(context))
    outputs = {"gate_id": gate.id, "ref": gate.ref, "declared_at": gate.declared_at.isoformat()}
    return StepResult(outputs, f"{gate.ref} declared {gate.declared_at:%Y-%m-%d %H:%M:%S} UTC")


# ---------------------------------------------------------------------- measured


def _run_body(inputs: StepInputs, section: EvalSection, target: EvalTarget, name: str) -> RunCreate:
    return RunCreate(
        eval_set=inputs.outputs_of(f"eval-set/{section.name}")["set_id"],
        target=target,
        scorers=section.scorers,
        name=name,
        repeats=section.repeats,
        sampling=section.sampling,
        concurrency=section.concurrency,
        answers_since=max((gate["declared_at"] for gate in _gates(inputs, section)), default=None),
    )


def _gates(inputs: StepInputs, section: EvalSection) -> list[dict[str, Any]]:
    """Return the gates that this evaluation is evidence for."""
    return [inputs.outputs_of(f"gate/{g.name}") for g in inputs.spec.gates if g.eval == section.name]


def _cache_inputs(inputs: StepInputs, section: EvalSection, target: EvalTarget) -> CacheInputs:
    """Return what is asked, of whom, and the gates it is evidence for: only runs after their declaration count."""
    body = _run_body(inputs, section, target, "")
    return body.model_dump(mode="json", exclude={"name", "key", "concurrency", "answers_since"}) | {
        "gates": [[g["gate_id"], g["declared_at"]] for g in _gates(inputs, section)]
    }


def _run_eval(context: StepContext, section: EvalSection, target: EvalTarget, who: str) -> StepResult:
    body = _run_body(context, section, target, f"{context.run_ref}: {who}")

    def submit(ctx: Context) -> str:
        if isinstance(target, ReleaseTarget) and _gates(context, section):
            # Refused here and not by the gate, when all has been asked.
            releases.check_frozen(releases.get_release(ctx, target.release), body, f"The evaluation {section.name}")
        run = evals.create_run(ctx, body)
        assert run.job_id is not None
        return run.job_id

    job = context.run_child_job(submit)
    assert job is not None
    with context.job_context.write() as ctx:
        run = evals.get_run(ctx, str(job.subject))
    means = {m.name: m.mean for m in run.figures.metrics} if run.figures is not None else {}
    return StepResult({"run_id": run.id, "means": means}, _note(run, who))


def _note(run: EvalRun, who: str) -> str:
    if run.figures is None:
        return who
    figures = [
        f"{m.name} {m.mean:.1%}" + (f" ({m.low:.1%} to {m.high:.1%})" if m.low is not None else "")
        for m in run.figures.metrics
        if m.mean is not None
    ]
    return f"{who}: {', '.join(figures)}"


def _candidate(inputs: StepInputs) -> ReleaseTarget:
    return ReleaseTarget(release=inputs.outputs_of("release")["release_id"])


def candidate_inputs(ctx: Context, inputs: StepInputs) -> CacheInputs:
    """Return the eval set, the candidate and the gates."""
    return _cache_inputs(inputs, inputs.eval, _candidate(inputs))


def run_candidate(context: StepContext) -> StepResult:
    """Evaluate the candidate release on the eval set."""
    return _run_eval(context, context.eval, _candidate(context), context.outputs_of("release")["ref"])


def _naive_bayes(inputs: StepInputs, section: EvalSection) -> BaselineTarget:
    split = section.naive_bayes or (inputs.spec.tuning.train_split if inputs.spec.tuning is not None else "train")
    return BaselineTarget(dataset=inputs.outputs_of("data")["version_id"], split=split)


def naive_bayes_inputs(ctx: Context, inputs: StepInputs) -> CacheInputs:
    """Return the eval set and the rows that Naive Bayes learns from."""
    return _cache_inputs(inputs, inputs.eval, _naive_bayes(inputs, inputs.eval))


def run_naive_bayes(context: StepContext) -> StepResult:
    """Evaluate Naive Bayes on the eval set."""
    return _run_eval(context, context.eval, _naive_bayes(context, context.eval), "Naive Bayes")


# ---------------------------------------------------------------------- against what is there


def served_release(ctx: Context, environment: str, name: str) -> Release | None:
    """Return the release of this name that is live in an environment, or None."""
    live_deployments = deployments.list_deployments(ctx, environment=environment, name=name, active_only=True).items
    live = next((d for d in live_deployments if d.state == "live"), None)
    return releases.get_release(ctx, live.release_id) if live is not None else None


def _find_baseline(ctx: Context, inputs: StepInputs) -> Release | str:
    """Return what the candidate is compared with: what is served, or what the gate declares for the beginning."""
    gate = inputs.gate
    assert inputs.spec.release is not None
    served = served_release(ctx, gate.against, inputs.spec.release.name)
    if served is not None or gate.otherwise in (BASE_MODEL, NAIVE_BAYES):
        return served or gate.otherwise
    return releases.get_release(ctx, gate.otherwise)


def _base_release(ctx: Context, inputs: StepInputs) -> Release:
    section = inputs.spec.release
    assert section is not None
    body = ReleaseCreate(
        name=f"{section.name[:58]}-base",
        model=inputs.outputs_of("base")["version_id"],
        prompt=inputs.prompt_id,
        sampling=section.sampling,
        note="the base model, to compare with",
    )
    return releases.create_release(ctx, body)


def _eval_section(inputs: StepInputs, gate: GateSection) -> EvalSection:
    return next(e for e in inputs.spec.evals if e.name == gate.eval)


def _is_candidate(inputs: StepInputs, against: Release | str) -> bool:
    return isinstance(against, Release) and against.id == inputs.outputs_of("release")["release_id"]


def baseline_inputs(ctx: Context, inputs: StepInputs) -> CacheInputs:
    """Return the eval set, and what the candidate is compared with."""
    against = _find_baseline(ctx, inputs)
    if _is_candidate(inputs, against):
        return None
    section = _eval_section(inputs, inputs.gate)
    if isinstance(against, Release):
        return _cache_inputs(inputs, section, ReleaseTarget(release=against.id))
    if against == NAIVE_BAYES:
        return _cache_inputs(inputs, section, _naive_bayes(inputs, section))
    release = inputs.spec.release
    assert release is not None
    cache_inputs = _cache_inputs(inputs, section, ReleaseTarget(release="rel_0")) or {}
    parts = [inputs.outputs_of("base")["version_id"], inputs.prompt_id, release.sampling.model_dump(mode="json")]
    return cache_inputs | {"target": ["base model", *parts]}


def run_baseline(context: StepContext) -> StepResult:
    """Evaluate what the candidate is compared with."""
    with context.job_context.write() as ctx:
        against = _find_baseline(ctx, context)
        if against == BASE_MODEL:
            against = _base_release(ctx, context)
    if _is_candidate(context, against):
        ref = context.outputs_of("release")["ref"]
        return StepResult({"same": True, "ref": ref}, f"{context.gate.against} serves {ref} already", unchanged=True)
    section = _eval_section(context, context.gate)
    if isinstance(against, Release):
        result = _run_eval(context, section, ReleaseTarget(release=against.id), against.ref)
        return StepResult(result.outputs | {"ref": against.ref}, result.note)
    result = _run_eval(context, section, _naive_bayes(context, section), "Naive Bayes")
    return StepResult(result.outputs | {"ref": "Naive Bayes"}, result.note)


def judge_inputs(ctx: Context, inputs: StepInputs) -> CacheInputs:
    """Return the gate and the two runs."""
    baseline = inputs.outputs_of(f"baseline/{inputs.subject}")
    if baseline.get("same"):
        return None
    return {
        "gate": inputs.outputs_of(f"gate/{inputs.subject}")["gate_id"],
        "baseline": baseline["run_id"],
        "candidate": inputs.outputs_of(f"evaluate/{inputs.gate.eval}")["run_id"],
        "release": inputs.outputs_of("release")["release_id"],
    }


def run_judge(context: StepContext) -> StepResult:
    """Let the gate judge. Raises GateRefused unless it passes."""
    baseline = context.outputs_of(f"baseline/{context.subject}")
    if baseline.get("same"):
        return StepResult({"verdict": "pass", "same": True}, f"{baseline['ref']} is there already", unchanged=True)
    body = GateEvaluate(
        release=context.outputs_of("release")["release_id"],
        gate=context.outputs_of(f"gate/{context.subject}")["gate_id"],
        baseline_run=baseline["run_id"],
        candidate_run=context.outputs_of(f"evaluate/{context.gate.eval}")["run_id"],
    )
    drafted = releases.draft_verdict(context.kernel, body)
    with context.job_context.write() as ctx:
        result = releases.evaluate_gate(ctx, body, drafted)
        _record_verdict(ctx, context, result)
    if result.verdict != "pass":
        raise GateRefused(
            f"{result.gate} says {result.verdict} of {context.outputs_of('release')['ref']} against {baseline['ref']}:"
            f" {result.summary}",
            hint=f"tidemill releases evidence {context.outputs_of('release')['ref']}",
            details={"verdict": result.verdict, "result": result.id},
        )
    return StepResult({"verdict": "pass", "result_id": result.id}, f"{result.summary} Against {baseline['ref']}.")


def _record_verdict(ctx: Context, context: StepContext, result: GateResult) -> None:
    order = ("fail", "inconclusive", "pass")
    run = store.run_by_id(ctx.conn, context.row.run_id)
    if run is None:
        raise NothingMeasured(f"The run {context.row.run_id} has gone.")
    worst = min((v for v in (run.verdict, result.verdict) if v is not None), key=order.index)
    store.update_run(ctx.conn, run.id, verdict=worst)
