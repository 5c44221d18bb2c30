"""The middle chapters: what is measured, what was declared before, and what the gate says."""

from typing import Any

from tidemill.demo.making import SPLIT
from tidemill.demo.stage import Stage
from tidemill.evals.types import EvalRun, EvalSet
from tidemill.releases.types import GateResult, Release

RELEASE = "question-type"
METRIC = "label_accuracy"
LABELS = ["ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"]
SAMPLING = {"temperature": 0.0, "max_tokens": 12}
MINIMUM_EFFECT = 0.1


def releases(stage: Stage) -> None:
    """Freeze base and tuned model, each with prompt and sampling, under a content hash."""
    for key, model, note in (("base", "base", "the base model as it came"), ("tuned", "tuned", "tuned on trec")):
        version, wanted = stage.facts[model], stage.facts["prompt"]
        made = stage.dana.releases.create(
            RELEASE,
            model=version.ref,
            prompt=f"{wanted.name}@{wanted.number}",
            sampling=SAMPLING,
            note=note,
        )
        stage.facts[f"{key}_release"] = made
        stage.say(f"{made.ref}: {version.ref} + {wanted.name}@{wanted.number}, {made.content_hash[:19]}…")


def declare(stage: Stage) -> None:
    """Make the eval set, say what it can see, and declare the gate before anything is measured."""
    dataset = stage.facts["dataset"]
    found = stage.dana.evals.create_set(
        "trec-test", f"{dataset.dataset}@{dataset.version}", split="test", limit=stage.size.questions
    )
    stage.facts["eval_set"] = found
    plan = stage.dana.evals.plan(found.ref, minimum_effect=MINIMUM_EFFECT)
    stage.say(plan.summary)
    gate = stage.dana.gates.declare(
        {
            "name": "question-type-quality",
            "eval_set": found.ref,
            "metric": METRIC,
            "kind": "improvement",
            "minimum_effect": MINIMUM_EFFECT,
            "guardrails": [{"metric": "json_valid", "margin": 0.02}],
        }
    )
    stage.facts["gate"] = gate
    stage.say(
        f"{gate.ref} declared {gate.declared_at:%H:%M:%S} UTC, {gate.hash[:19]}…: {METRIC} must improve"
        f" (alpha {gate.alpha}, power {gate.power} for {100 * MINIMUM_EFFECT:.0f} points),"
        " valid JSON must not fall by 2 points."
    )


def scorers() -> list[dict[str, Any]]:
    """How an answer is scored: its label, and whether it is the JSON that was asked for."""
    schema = {
        "type": "object",
        "properties": {"type": {"enum": LABELS}},
        "required": ["type"],
        "additionalProperties": False,
    }
    return [
        {"scorer": METRIC, "config": {"labels": LABELS, "json_field": "type"}},
        {"scorer": "json_schema", "name": "json_valid", "config": {"json_schema": schema}},
    ]


def measure(stage: Stage) -> None:
    """Ask the base, the tuned model and a Naive Bayes baseline the same held-out questions."""
    dataset, found = stage.facts["dataset"], stage.facts["eval_set"]
    bayes = {"kind": "baseline", "dataset": f"{dataset.dataset}@{dataset.version}", "split": next(iter(SPLIT))}
    runs = {
        "bayes": (bayes, "Naive Bayes", [{"scorer": METRIC, "config": {"labels": LABELS}}]),
        "base": ({"kind": "release", "release": stage.facts["base_release"].ref}, "base model", scorers()),
        "tuned": ({"kind": "release", "release": stage.facts["tuned_release"].ref}, "tuned model", scorers()),
    }
    for key, (target, label, by) in runs.items():
        stage.facts[f"{key}_run"] = _run(stage, found, key, target, label, by)
    stage.rows(
        ["answers by", "accuracy", "95% interval", "not readable", "failures", "p50 ms", "took s"],
        [_row(label, stage.facts[f"{key}_run"]) for key, (_, label, _) in runs.items()],
    )


def _run(
    stage: Stage, found: EvalSet, key: str, target: dict[str, Any], label: str, by: list[dict[str, Any]]
) -> EvalRun:
    name = f"demo-{found.id}-{key}-{target.get('release', target.get('dataset'))}"
    run = stage.dana.evals.run(found.ref, target, list(by), name=label, key=name)
    if run.state != "succeeded":
        stage.wait(run.job_id, f"asking the {label}")
    return stage.dana.evals.get_run(run.id)


def _row(label: str, run: EvalRun) -> list[Any]:
    figures, metric = run.figures, run.metric(METRIC)
    if figures is None or metric is None or metric.mean is None:
        return [label, "-", "-", "-", "-", "-", "-"]
    interval = "-" if metric.low is None else f"{metric.low:.1%} to {metric.high:.1%}"
    latency = "-" if figures.latency_p50_ms is None else f"{figures.latency_p50_ms:.0f}"
    return [label, f"{metric.mean:.1%}", interval, metric.invalid, figures.failures, latency, f"{figures.seconds:.0f}"]


def judge(stage: Stage) -> GateResult:
    """Let the gate judge the tuned release on the two runs."""
    gate, release = stage.facts["gate"], stage.facts["tuned_release"]
    result = _judged(stage, gate.id, release)
    if result is None:
        result = stage.dana.gates.evaluate(
            gate.ref,
            release.ref,
            baseline_run=stage.facts["base_run"].id,
            candidate_run=stage.facts["tuned_run"].id,
        )
    stage.facts["verdict"] = result
    style = {"pass": "bold green", "fail": "bold red"}.get(result.verdict, "bold yellow")
    stage.say(f"{gate.ref}: {result.verdict.upper()}", style=style)
    stage.say(result.summary)
    for warning in result.warnings:
        stage.say(warning, style="yellow")
    return result


def _judged(stage: Stage, gate_id: str, release: Release) -> GateResult | None:
    return next((r for r in stage.dana.releases.verdicts(release.ref).items if r.gate_id == gate_id), None)
