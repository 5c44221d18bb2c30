"""The middle chapters: what is measured, what was declared before, and what the gate says."""

from typing import Any

from tidemill.demo.context import DemoContext
from tidemill.demo.tuning import SPLIT
from tidemill.evals.types import EvalRun, EvalSet
from tidemill.releases.types import GateResult, Release

RELEASE = "question-type"
METRIC = "label_accuracy"
LABELS = ["ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"]
SAMPLING = {"temperature": 0.0, "max_tokens": 12}
MINIMUM_EFFECT = 0.1


def releases(demo: DemoContext) -> None:
    """Freeze base and tuned model, each with prompt and sampling, under a content hash."""
    for key, model, note in (("base", "base", "the base model as it came"), ("tuned", "tuned", "tuned on trec")):
        version, prompt = demo.results[model], demo.results["prompt"]
        release = demo.dana.releases.create(
            RELEASE,
            model=version.ref,
            prompt=f"{prompt.name}@{prompt.number}",
            sampling=SAMPLING,
            note=note,
        )
        demo.results[f"{key}_release"] = release
        demo.say(f"{release.ref}: {version.ref} + {prompt.name}@{prompt.number}, {release.content_hash[:19]}…")


def declare(demo: DemoContext) -> None:
    """Make the eval set, say what it can see, and declare the gate before anything is measured."""
    dataset = demo.results["dataset"]
    eval_set = demo.dana.evals.create_set(
        "trec-test", f"{dataset.dataset}@{dataset.version}", split="test", limit=demo.size.questions
    )
    demo.results["eval_set"] = eval_set
    plan = demo.dana.evals.plan(eval_set.ref, minimum_effect=MINIMUM_EFFECT)
    demo.say(plan.summary)
    gate = demo.dana.gates.declare(
        {
            "name": "question-type-quality",
            "eval_set": eval_set.ref,
            "metric": METRIC,
            "kind": "improvement",
            "minimum_effect": MINIMUM_EFFECT,
            "guardrails": [{"metric": "json_valid", "margin": 0.02}],
        }
    )
    demo.results["gate"] = gate
    demo.say(
        f"{gate.ref} declared {gate.declared_at:%H:%M:%S} UTC, {gate.hash[:19]}…: {METRIC} must improve"
        f" (alpha {gate.alpha}, power {gate.power} for {100 * MINIMUM_EFFECT:.0f} points),"
        " valid JSON must not fall by 2 points."
    )


def scorers() -> list[dict[str, Any]]:
    """Return the scorers of an answer: its label, and whether it is the JSON that was asked for."""
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


def measure(demo: DemoContext) -> None:
    """Ask the base, the tuned model and a Naive Bayes baseline the same held-out questions."""
    dataset, eval_set = demo.results["dataset"], demo.results["eval_set"]
    naive_bayes = {"kind": "baseline", "dataset": f"{dataset.dataset}@{dataset.version}", "split": next(iter(SPLIT))}
    runs = {
        "bayes": (naive_bayes, "Naive Bayes", [{"scorer": METRIC, "config": {"labels": LABELS}}]),
        "base": ({"kind": "release", "release": demo.results["base_release"].ref}, "base model", scorers()),
        "tuned": ({"kind": "release", "release": demo.results["tuned_release"].ref}, "tuned model", scorers()),
    }
    for key, (target, label, by) in runs.items():
        demo.results[f"{key}_run"] = _run(demo, eval_set, key, target, label, by)
    demo.rows(
        ["answers by", "accuracy", "95% interval", "unreadable", "failures", "p50 ms", "took s"],
        [_row(label, demo.results[f"{key}_run"]) for key, (_, label, _) in runs.items()],
    )


def _run(
    demo: DemoContext, eval_set: EvalSet, key: str, target: dict[str, Any], label: str, by: list[dict[str, Any]]
) -> EvalRun:
    name = f"demo-{eval_set.id}-{key}-{target.get('release', target.get('dataset'))}"
    run = demo.dana.evals.run(eval_set.ref, target, list(by), name=label, key=name)
    if run.state != "succeeded":
        demo.wait(run.job_id, f"asking the {label}")
    return demo.dana.evals.get_run(run.id)


def _row(label: str, run: EvalRun) -> list[Any]:
    figures, metric = run.figures, run.metric(METRIC)
    if figures is None or metric is None or metric.mean is None:
        return [label, "-", "-", "-", "-", "-", "-"]
    interval = "-" if metric.low is None else f"{metric.low:.1%} to {metric.high:.1%}"
    latency = "-" if figures.latency_p50_ms is None else f"{figures.latency_p50_ms:.0f}"
    return [label, f"{metric.mean:.1%}", interval, metric.invalid, figures.failures, latency, f"{figures.seconds:.0f}"]


def judge(demo: DemoContext) -> GateResult:
    """Let the gate judge the tuned release on the two runs."""
    gate, release = demo.results["gate"], demo.results["tuned_release"]
    result = _find_verdict(demo, gate.id, release)
    if result is None:
        result = demo.dana.gates.evaluate(
            gate.ref,
            release.ref,
            baseline_run=demo.results["base_run"].id,
            candidate_run=demo.results["tuned_run"].id,
        )
    demo.results["verdict"] = result
    style = {"pass": "bold green", "fail": "bold red"}.get(result.verdict, "bold yellow")
    demo.say(f"{gate.ref}: {result.verdict.upper()}", style=style)
    demo.say(result.summary)
    for warning in result.warnings:
        demo.say(warning, style="yellow")
    return result


def _find_verdict(demo: DemoContext, gate_id: str, release: Release) -> GateResult | None:
    return next((r for r in demo.dana.releases.verdicts(release.ref).items if r.gate_id == gate_id), None)
