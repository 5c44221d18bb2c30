"""Judge the results of two runs. Reads no database."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill.core.wire import content_hash, new_id, utc_now
from tidemill.evals import pairing, power_analysis
from tidemill.evals.types import AnswerWarning, Comparison, ComparisonSpec, EvalItem, EvalResult, EvalRun, MetricVerdict
from tidemill.evals.verdicts import judge_guardrails, judge_metric, overall, paired_difference


@dataclass(frozen=True)
class ComparisonInput:
    """The spec, items and results that a verdict rests on."""

    spec: ComparisonSpec
    baseline: EvalRun
    candidate: EvalRun
    items: Sequence[EvalItem]
    baseline_results: Sequence[EvalResult]
    candidate_results: Sequence[EvalResult]


def spec_hash(spec: ComparisonSpec) -> str:
    """Return the hash of metrics, margins, alpha and power, without the runs."""
    return content_hash(spec.model_dump(mode="json", exclude={"baseline_run", "candidate_run"}))


def check(spec: ComparisonSpec, baseline: EvalRun, candidate: EvalRun) -> None:
    """Raise RunNotFinished, RunsDiffer, MetricUnknown or RunHasFailures when the runs cannot answer `spec`."""
    pairing.check_comparable(baseline, candidate)
    for rule in (spec.primary, *spec.guardrails):
        pairing.check_metric(baseline, candidate, rule.metric)
    pairing.check_failures((baseline, candidate), spec.failures)


def judge(material: ComparisonInput, by: str) -> Comparison:
    """Return the verdict with its evidence. Raises TooFewPairs."""
    spec, first, second = material.spec, material.baseline_results, material.candidate_results
    rules = [spec.primary, *spec.guardrails]
    pairs = [pairing.pair_values(material.items, first, second, rule, spec.failures) for rule in rules]
    differences = [paired_difference(p.baseline, p.candidate, p.clusters) for p in pairs]
    primary = judge_metric(rules[0], differences[0], spec.alpha)
    guards = judge_guardrails(spec.guardrails, differences[1:], spec.alpha)
    verdicts = [primary, *guards]
    open_ends = [v.more_items for v in verdicts if v.more_items is not None]
    outcome = overall(verdicts)
    doubts = _run_warnings(material)
    return Comparison(
        id=new_id("cmp"),
        spec=spec,
        spec_hash=spec_hash(spec),
        eval_set=material.baseline.eval_set_id,
        outcome=outcome,
        primary=primary,
        guardrails=guards,
        minimum_detectable_effect=power_analysis.detectable(differences[0], pairs[0].clusters, spec.alpha, spec.power),
        more_items=max(open_ends) if outcome == "inconclusive" and open_ends else None,
        dropped=pairs[0].dropped,
        summary=_summary(outcome, verdicts),
        warnings=[*_warnings(spec, verdicts, pairs, [*first, *second]), *(_text(w, material) for w in doubts)],
        run_warnings=doubts,
        created_at=utc_now(),
        created_by=by,
    )


def _run_warnings(material: ComparisonInput) -> list[AnswerWarning]:
    """Return the warnings of both runs that concern a metric in question or all of them, the candidate's first."""
    spec = material.spec
    metrics = {None, spec.primary.metric, *(rule.metric for rule in spec.guardrails)}
    return [
        warning.model_copy(update={"run": run.id})
        for run in (material.candidate, material.baseline)
        for warning in (run.figures.warnings if run.figures is not None else [])
        if warning.metric in metrics
    ]


def _text(warning: AnswerWarning, material: ComparisonInput) -> str:
    return f"{'Candidate' if warning.run == material.candidate.id else 'Baseline'}: {warning.message}"


def _summary(outcome: str, verdicts: list[MetricVerdict]) -> str:
    deciding = [v for v in verdicts if v.outcome == outcome] if outcome != "pass" else verdicts[:1]
    return f"{outcome}: " + " ".join(v.summary for v in deciding)


def _warnings(
    spec: ComparisonSpec, verdicts: list[MetricVerdict], pairs: list[pairing.PairedValues], results: list[EvalResult]
) -> list[str]:
    warnings = [w for v in verdicts[:1] for w in v.difference.warnings]
    missing = sum(r.failed for r in results)
    if missing:
        warnings.append(f"{missing} answers are missing; as declared they are counted as {spec.failures}.")
    if any(v.metric == "latency_ms" for v in verdicts) and any(r.cached for r in results):
        warnings.append("Some answers come from the cache: their latency is that of the day they were given.")
    warnings += [
        f"{v.metric}: {p.dropped} of {p.dropped + len(p.clusters)} pairs are left out."
        for v, p in zip(verdicts, pairs, strict=True)
        if p.dropped
    ]
    return warnings
