"""Gates: terms declared before an evaluation, and their verdicts on releases."""

from tidemill.core import events, lineage
from tidemill.core.actors import SYSTEM
from tidemill.core.kernel import Context, Kernel
from tidemill.core.web import page
from tidemill.core.wire import Page, content_hash, new_id
from tidemill.evals import service as evals
from tidemill.evals.types import Comparison, ComparisonSpec, EvalRun
from tidemill.releases import store
from tidemill.releases.fit_evidence import check_evidence
from tidemill.releases.lookup import get_gate, get_release
from tidemill.releases.types import (
    Gate,
    GateChangedAfterEvaluation,
    GateCreate,
    GateEvaluate,
    GateResult,
    GateTerms,
    Release,
    Verdict,
)


def terms_hash(terms: GateTerms) -> str:
    """Return the hash of all terms that decide a gate's verdict."""
    return content_hash(terms.model_dump(mode="json", include=set(GateTerms.model_fields)))


def declare_gate(ctx: Context, body: GateCreate) -> Gate:
    """Declare a gate. Returns the existing gate for the same terms.

    Other terms under a known name amend the newest version while no evaluation has used it, with a new time of
    declaration. Once used it never changes: then GateChangedAfterEvaluation, or a new version with `new_version`.
    Raises EvalSetNotFound.
    """
    eval_set = evals.get_set(ctx, body.eval_set)
    terms = GateTerms.model_validate(body.model_dump(include=set(GateTerms.model_fields)) | {"eval_set": eval_set.id})
    digest = terms_hash(terms)
    store.lock(ctx.conn, f"gate {body.name}")
    newest = store.find_gate(ctx.conn, name=body.name)
    if newest is not None and newest.hash == digest:
        return newest
    if newest is not None and newest.used and not body.new_version:
        raise GateChangedAfterEvaluation(
            f"{newest.ref} has judged an evaluation already, so its terms cannot change.",
            hint="Declare a new version (--new-version), then run the evaluation again: earlier runs will not count.",
            details={"gate": newest.id, "hash": newest.hash, "refused": digest},
        )
    amends = newest is not None and not newest.used
    gate = Gate.model_validate(
        terms.model_dump()
        | {
            "id": newest.id if newest is not None and amends else new_id("gate"),
            "name": body.name,
            "number": newest.number + (0 if amends else 1) if newest is not None else 1,
            "hash": digest,
            "declared_at": ctx.now,
            "declared_by": ctx.actor.name,
            "used": False,
        }
    )
    if amends:
        store.replace_gate(ctx.conn, gate)
    else:
        store.insert_gate(ctx.conn, gate)
    facts = {"gate": gate.ref, "hash": digest, "terms": terms.model_dump(mode="json")}
    events.emit(ctx, "gate.amended" if amends else "gate.declared", gate.id, facts)
    return gate


def list_gates(ctx: Context, *, cursor: str | None, limit: int) -> Page[Gate]:
    """Return gates, newest first."""
    return page(store.list_gates(ctx.conn, before=cursor, limit=limit + 1), limit)


def draft_verdict(kernel: Kernel, body: GateEvaluate) -> Comparison:
    """Return the comparison that a gate asks for, computed before the transaction that stores the verdict.

    Raises what `evaluate_gate` raises.
    """
    with kernel.read(SYSTEM) as ctx:
        release, gate = get_release(ctx, body.release), get_gate(ctx, body.gate)
        spec = _comparison_spec(ctx, body, release, gate)
    return evals.draft(kernel, spec)


def evaluate_gate(ctx: Context, body: GateEvaluate, drafted: Comparison | None = None) -> GateResult:
    """Judge a release by a gate on two finished runs, and store the verdict with its evidence.

    Returns the existing verdict for the same runs. A draft is used only if it fits the gate's present terms.
    Raises RunBeforeGate, UnfitEvidence, GateChangedAfterEvaluation, and what a comparison raises (RunNotFinished,
    RunHasFailures, TooFewPairs).
    """
    release, name = get_release(ctx, body.release), get_gate(ctx, body.gate).name
    store.lock(ctx.conn, f"gate {name}")
    gate = get_gate(ctx, body.gate)
    spec = _comparison_spec(ctx, body, release, gate)
    baseline, candidate = (evals.get_run(ctx, run) for run in (spec.baseline_run, spec.candidate_run))
    comparison = evals.compare(ctx, spec, drafted)
    existing = store.find_result(ctx.conn, release_id=release.id, gate_id=gate.id, comparison_id=comparison.id)
    if existing is not None:
        return existing
    result = GateResult(
        id=new_id("gr"),
        release_id=release.id,
        gate_id=gate.id,
        gate=gate.ref,
        gate_hash=gate.hash,
        comparison_id=comparison.id,
        baseline_run=baseline.id,
        candidate_run=candidate.id,
        verdict=comparison.outcome,
        summary=comparison.summary,
        warnings=[*comparison.warnings, *_cache_warnings(baseline, candidate), *_repeat_warnings(ctx, release, gate)],
        evidence=comparison,
        at=ctx.now,
        by=ctx.actor.name,
    )
    store.insert_result(ctx.conn, result)
    store.mark_gate_used(ctx.conn, gate.id)
    _record(ctx, gate, result)
    return result


def list_results(ctx: Context, ref: str) -> Page[GateResult]:
    """Return every verdict on a release, newest first."""
    return Page(items=store.list_results(ctx.conn, get_release(ctx, ref).id))


def check_unchanged(gate: Gate, expected: str) -> None:
    """Raise GateChangedAfterEvaluation when the stored terms no longer have the hash they were declared with."""
    actual = terms_hash(gate)
    if actual != expected:
        raise GateChangedAfterEvaluation(
            f"The terms of {gate.ref} hash to {actual}, but {expected} was declared.",
            hint="Somebody changed the database. Declare a new version and evaluate again.",
            details={"gate": gate.id, "declared": expected, "seen": actual},
        )


def get_verdict(ctx: Context, release: Release) -> tuple[Verdict | None, list[GateResult]]:
    """Return the worst of all gates' newest verdicts on a release (None without any), and these verdicts.

    Taking the worst means that nobody can declare gates until one of them passes.
    """
    newest: dict[str, GateResult] = {}
    for result in store.list_results(ctx.conn, release.id):
        newest.setdefault(result.gate.partition("@")[0], result)
    for result in newest.values():
        check_unchanged(get_gate(ctx, result.gate_id), result.gate_hash)
    verdicts = {result.verdict for result in newest.values()}
    order: tuple[Verdict, ...] = ("fail", "inconclusive", "pass")
    return next((v for v in order if v in verdicts), None), list(newest.values())


def _comparison_spec(ctx: Context, body: GateEvaluate, release: Release, gate: Gate) -> ComparisonSpec:
    """Return the comparison that the gate asks of two runs, after checking that they fit."""
    check_unchanged(gate, gate.hash)
    baseline, candidate = check_evidence(ctx, body, release, gate)
    return ComparisonSpec(
        baseline_run=baseline.id,
        candidate_run=candidate.id,
        primary=gate.primary,
        guardrails=gate.guards,
        alpha=gate.alpha,
        power=gate.power,
        failures=gate.failures,
    )


def _cache_warnings(*runs: EvalRun) -> list[str]:
    return [
        f"{run.figures.cached} of {run.figures.answers} answers of {run.id} were taken from earlier runs."
        for run in runs
        if run.figures is not None and run.figures.cached
    ]


def _repeat_warnings(ctx: Context, release: Release, gate: Gate) -> list[str]:
    earlier = [r for r in store.list_results(ctx.conn, release.id) if r.gate.partition("@")[0] == gate.name]
    if not earlier:
        return []
    earlier_verdicts = ", ".join(r.verdict for r in reversed(earlier))
    return [
        f"{gate.name} has judged {release.ref} before ({earlier_verdicts}): "
        "every further look adds to the chance of a wrong pass."
    ]


def _record(ctx: Context, gate: Gate, result: GateResult) -> None:
    node = lineage.LineageNode(id=gate.id, kind="gate", label=gate.ref, facts={"hash": gate.hash})
    lineage.record(ctx, node, [(gate.eval_set, "judges_on")])
    facts = {"verdict": result.verdict, "summary": result.summary, "gate_hash": result.gate_hash}
    parents = [(result.release_id, "judges"), (gate.id, "by_gate"), (result.comparison_id, "on_evidence")]
    label = f"{result.gate}: {result.verdict}"
    lineage.record(ctx, lineage.LineageNode(id=result.id, kind="gate_result", label=label, facts=facts), parents)
    events.emit(ctx, "gate.evaluated", result.release_id, {"gate": result.gate, "result": result.id, **facts})
