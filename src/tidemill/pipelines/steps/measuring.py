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
from tidemill.pipelines.steps.turn import Facts, Outcome, Reads, Turn
from tidemill.pipelines.types import EvalSection, GateRefused, GateSection, NothingMeasured
from tidemill.releases import service as releases
from tidemill.releases.types import GateCreate, GateEvaluate, GateResult, Release, ReleaseCreate

BASE_MODEL, NAIVE_BAYES = "base_model", "naive_bayes"


# ---------------------------------------------------------------------- declared before anything is measured


def _set(facts: Facts) -> EvalSetCreate:
    wanted = facts.eval
    dataset = wanted.dataset or facts.of("data")["version_id"]
    return EvalSetCreate(
        name=wanted.name, dataset=dataset, split=wanted.split, mapping=wanted.mapping, limit=wanted.limit
    )


def reads_set(ctx: Context, facts: Facts) -> Reads:
    """Which rows, and how they become items."""
    return _set(facts).model_dump(mode="json")


def do_set(turn: Turn) -> Outcome:
    """Make the eval set; the same rows are the set that is there."""
    body = _set(turn)
    gathered = evals.gather(turn.kernel, body)  # before the transaction: others must write meanwhile
    with turn.at.write() as ctx:
        made = evals.create_set(ctx, body, gathered)
    return Outcome({"set_id": made.id, "ref": made.ref}, f"{made.ref}: {made.items} items in {made.clusters} clusters")


def _gate(facts: Facts) -> GateCreate:
    wanted = facts.gate
    given: dict[str, Any] = wanted.model_dump(exclude={"eval", "against", "otherwise"}) | {
        "eval_set": facts.of(f"eval-set/{wanted.eval}")["set_id"],
        "new_version": True,
    }
    return GateCreate.model_validate(given)


def reads_gate(ctx: Context, facts: Facts) -> Reads:
    """The terms."""
    return _gate(facts).model_dump(mode="json")


def do_gate(turn: Turn) -> Outcome:
    """Declare the gate."""
    with turn.at.write() as ctx:
        gate = releases.declare_gate(ctx, _gate(turn))
    outputs = {"gate_id": gate.id, "ref": gate.ref, "declared_at": gate.declared_at.isoformat()}
    return Outcome(outputs, f"{gate.ref} declared {gate.declared_at:%Y-%m-%d %H:%M:%S} UTC")


# ---------------------------------------------------------------------- measured


def _body(facts: Facts, wanted: EvalSection, target: EvalTarget, name: str) -> RunCreate:
    return RunCreate(
        eval_set=facts.of(f"eval-set/{wanted.name}")["set_id"],
        target=target,
        scorers=wanted.scorers,
        name=name,
        repeats=wanted.repeats,
        sampling=wanted.sampling,
        concurrency=wanted.concurrency,
    )


def _reads(facts: Facts, wanted: EvalSection, target: EvalTarget) -> Reads:
    """What is asked, of whom, and the gates it is evidence for: only runs after their declaration count."""
    body = _body(facts, wanted, target, "")
    gates = [facts.of(f"gate/{g.name}") for g in facts.spec.gates if g.eval == wanted.name]
    return body.model_dump(mode="json", exclude={"name", "key", "concurrency"}) | {
        "gates": [[g["gate_id"], g["declared_at"]] for g in gates]
    }


def _measure(turn: Turn, wanted: EvalSection, target: EvalTarget, who: str) -> Outcome:
    def submit(ctx: Context) -> str:
        run = evals.create_run(ctx, _body(turn, wanted, target, f"{turn.run_ref}: {who}"))
        assert run.job_id is not None
        return run.job_id

    job = turn.child(submit)
    assert job is not None
    with turn.at.write() as ctx:
        run = evals.get_run(ctx, str(job.subject))
    means = {m.name: m.mean for m in run.figures.metrics} if run.figures is not None else {}
    return Outcome({"run_id": run.id, "means": means}, _told(run, who))


def _told(run: EvalRun, who: str) -> str:
    if run.figures is None:
        return who
    figures = [
        f"{m.name} {m.mean:.1%}" + (f" ({m.low:.1%} to {m.high:.1%})" if m.low is not None else "")
        for m in run.figures.metrics
        if m.mean is not None
    ]
    return f"{who}: {', '.join(figures)}"


def _candidate(facts: Facts) -> ReleaseTarget:
    return ReleaseTarget(release=facts.of("release")["release_id"])


def reads_candidate(ctx: Context, facts: Facts) -> Reads:
    """The eval set and the candidate."""
    return _reads(facts, facts.eval, _candidate(facts))


def do_candidate(turn: Turn) -> Outcome:
    """Ask the candidate every item."""
    return _measure(turn, turn.eval, _candidate(turn), turn.of("release")["ref"])


def _bayes(facts: Facts, wanted: EvalSection) -> BaselineTarget:
    split = wanted.naive_bayes or (facts.spec.tuning.train_split if facts.spec.tuning is not None else "train")
    return BaselineTarget(dataset=facts.of("data")["version_id"], split=split)


def reads_bayes(ctx: Context, facts: Facts) -> Reads:
    """The eval set and the rows that Naive Bayes learns from."""
    return _reads(facts, facts.eval, _bayes(facts, facts.eval))


def do_bayes(turn: Turn) -> Outcome:
    """Let Naive Bayes answer every item."""
    return _measure(turn, turn.eval, _bayes(turn, turn.eval), "Naive Bayes")


# ---------------------------------------------------------------------- against what is there


def serving(ctx: Context, environment: str, name: str) -> Release | None:
    """What an environment serves under this release name now."""
    found = deployments.listing(ctx, environment=environment, name=name, active_only=True).items
    live = next((d for d in found if d.state == "live"), None)
    return releases.get_release(ctx, live.release_id) if live is not None else None


def _against(ctx: Context, facts: Facts) -> Release | str:
    """What the candidate is compared with: what is served, or what the gate declares for the beginning."""
    gate = facts.gate
    assert facts.spec.release is not None
    served = serving(ctx, gate.against, facts.spec.release.name)
    if served is not None or gate.otherwise in (BASE_MODEL, NAIVE_BAYES):
        return served or gate.otherwise
    return releases.get_release(ctx, gate.otherwise)


def _base_release(ctx: Context, facts: Facts) -> Release:
    wanted = facts.spec.release
    assert wanted is not None
    body = ReleaseCreate(
        name=f"{wanted.name[:58]}-base",
        model=facts.of("base")["version_id"],
        prompt=facts.prompt_id,
        sampling=wanted.sampling,
        note="the base model, to compare with",
    )
    return releases.create_release(ctx, body)


def _eval_of(facts: Facts, gate: GateSection) -> EvalSection:
    return next(e for e in facts.spec.evals if e.name == gate.eval)


def _same(facts: Facts, against: Release | str) -> bool:
    return isinstance(against, Release) and against.id == facts.of("release")["release_id"]


def reads_baseline(ctx: Context, facts: Facts) -> Reads:
    """The eval set, and what the candidate is compared with."""
    against = _against(ctx, facts)
    if _same(facts, against):
        return None
    wanted = _eval_of(facts, facts.gate)
    if isinstance(against, Release):
        return _reads(facts, wanted, ReleaseTarget(release=against.id))
    if against == NAIVE_BAYES:
        return _reads(facts, wanted, _bayes(facts, wanted))
    release = facts.spec.release
    assert release is not None
    asked = _reads(facts, wanted, ReleaseTarget(release="rel_0")) or {}
    parts = [facts.of("base")["version_id"], facts.prompt_id, release.sampling.model_dump(mode="json")]
    return asked | {"target": ["base model", *parts]}


def do_baseline(turn: Turn) -> Outcome:
    """Ask what the candidate is compared with."""
    with turn.at.write() as ctx:
        against = _against(ctx, turn)
        if against == BASE_MODEL:
            against = _base_release(ctx, turn)
    if _same(turn, against):
        ref = turn.of("release")["ref"]
        return Outcome({"same": True, "ref": ref}, f"{turn.gate.against} serves {ref} already", unchanged=True)
    wanted = _eval_of(turn, turn.gate)
    if isinstance(against, Release):
        made = _measure(turn, wanted, ReleaseTarget(release=against.id), against.ref)
        return Outcome(made.outputs | {"ref": against.ref}, made.note)
    made = _measure(turn, wanted, _bayes(turn, wanted), "Naive Bayes")
    return Outcome(made.outputs | {"ref": "Naive Bayes"}, made.note)


def reads_judge(ctx: Context, facts: Facts) -> Reads:
    """The gate and the two runs."""
    baseline = facts.of(f"baseline/{facts.subject}")
    if baseline.get("same"):
        return None
    return {
        "gate": facts.of(f"gate/{facts.subject}")["gate_id"],
        "baseline": baseline["run_id"],
        "candidate": facts.of(f"evaluate/{facts.gate.eval}")["run_id"],
        "release": facts.of("release")["release_id"],
    }


def do_judge(turn: Turn) -> Outcome:
    """Let the gate judge. Raises GateRefused unless it passes."""
    baseline = turn.of(f"baseline/{turn.subject}")
    if baseline.get("same"):
        return Outcome({"verdict": "pass", "same": True}, f"{baseline['ref']} is there already", unchanged=True)
    body = GateEvaluate(
        release=turn.of("release")["release_id"],
        gate=turn.of(f"gate/{turn.subject}")["gate_id"],
        baseline_run=baseline["run_id"],
        candidate_run=turn.of(f"evaluate/{turn.gate.eval}")["run_id"],
    )
    drafted = releases.draft_verdict(turn.kernel, body)
    with turn.at.write() as ctx:
        result = releases.evaluate_gate(ctx, body, drafted)
        _keep_verdict(ctx, turn, result)
    if result.verdict != "pass":
        raise GateRefused(
            f"{result.gate} says {result.verdict} of {turn.of('release')['ref']} against {baseline['ref']}:"
            f" {result.summary}",
            hint=f"tidemill releases evidence {turn.of('release')['ref']}",
            details={"verdict": result.verdict, "result": result.id},
        )
    return Outcome({"verdict": "pass", "result_id": result.id}, f"{result.summary} Against {baseline['ref']}.")


def _keep_verdict(ctx: Context, turn: Turn, result: GateResult) -> None:
    order = ("fail", "inconclusive", "pass")
    run = store.run_by_id(ctx.conn, turn.row.run_id)
    if run is None:
        raise NothingMeasured(f"The run {turn.row.run_id} has gone.")
    worst = min((v for v in (run.verdict, result.verdict) if v is not None), key=order.index)
    store.update_run(ctx.conn, run.id, verdict=worst)
