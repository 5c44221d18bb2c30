"""Production talks back: users ask and judge, the loop is declared, the mix shifts, and a monitor sees it."""

import json
import time
from pathlib import Path
from typing import Any

import yaml

from tidemill.core.errors import Failed
from tidemill.data.types import DatasetVersion
from tidemill.demo.context import DemoContext
from tidemill.demo.evaluation import LABELS, METRIC, RELEASE, SAMPLING, scorers
from tidemill.demo.informal import shifted
from tidemill.demo.traffic import SCORE, JudgedAnswer, SimulatedUsers, accuracy
from tidemill.demo.tuning import DATASET, PROMPT
from tidemill.drift.types import DriftReport
from tidemill.jobs.cli import progress_display
from tidemill.triggers.types import Firing
from tidemill.tuning.recipes import QUESTION_TYPES

PIPELINE = "question-type"
MONITOR, KPI, TRIGGER = "question-mix", "right-answers", "retrain"
CORE = "trec-core"
TEXTED = "texted"
FLOOR = 0.9
"""Nine of ten answers should be right, say the users."""
FIRING_TIMEOUT_S = 120.0


def usual_traffic(demo: DemoContext) -> None:
    """Held-out questions come in as they always did, and users say what was right."""
    rows = _rows(demo, "validation")[: demo.size.quiet]
    answers = _run_traffic(demo, "quiet", rows, "questions as usual")
    demo.results["quiet_share"] = accuracy(answers)


def declare_loop(demo: DemoContext) -> None:
    """Write the whole loop down, look at what it would change, and apply it."""
    _import_core(demo)
    _import_expert(demo)
    folder = Path(demo.home) / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    document = folder / "tidemill.yaml"
    document.write_text(yaml.safe_dump(_document(demo), sort_keys=False, allow_unicode=True), encoding="utf-8")
    plan = demo.owner.pipelines.plan(document)
    demo.say(f"{document.relative_to(Path(demo.home).parent)} would change {len(plan.changes)} things:")
    for change in plan.changes[:8]:
        demo.say({"add": "+", "change": "~", "remove": "-"}[change.action] + f" {change.path}", style="dim")
    applied = demo.owner.pipelines.apply(document)
    demo.say(f"{applied.pipeline.ref} is applied. Nothing runs: no condition of its trigger is met.")
    if not _firings(demo):
        _print_report(demo, _check_drift(demo))


def shifted_traffic(demo: DemoContext) -> None:
    """A new crowd asks: texted on telephones, and more about numbers and people."""
    used = demo.size.quiet or 0
    rows = shifted(_rows(demo, "validation")[used:], demo.size.shifted, seed=11)
    for row in rows[:3]:
        demo.say(f"'{row['text']}'", style="dim")
    answers = _run_traffic(demo, "shift", rows, "the new crowd")
    demo.results["shift_share"] = accuracy(answers)


def drift(demo: DemoContext) -> None:
    """The monitor sees the drift and the KPI sees the damage: both conditions are met, and the pipeline starts."""
    firing = next(iter(_firings(demo)), None)
    if firing is None:
        _print_report(demo, _check_drift(demo))
        kpi = demo.owner.monitors.check(KPI).kpi
        if kpi is not None:
            demo.say(f"{KPI}: {kpi.verdict}. {kpi.why}")
        firing = _wait_for_firing(demo)
    else:
        reports = demo.owner.drift.reports(MONITOR).items
        demo.results["drift_report"] = next((r for r in reversed(reports) if r.verdict == "drift"), None)
    demo.say(f"The trigger {TRIGGER} fired at {firing.at:%H:%M:%S} UTC:", style="bold yellow")
    for reason in firing.reasons:
        demo.say(f"- {reason}")


def _wait_for_firing(demo: DemoContext) -> Firing:
    deadline = time.monotonic() + FIRING_TIMEOUT_S
    while time.monotonic() < deadline:
        firings = _firings(demo)
        if firings:
            return firings[0]
        time.sleep(0.5)
    status = demo.owner.triggers.status(TRIGGER)
    conditions = {"data condition": status.data_condition, "quality condition": status.quality_condition}
    stands = "; ".join(f"{name} {'met' if one.met else 'not met'}" for name, one in conditions.items())
    raise Failed(
        f"The trigger {TRIGGER} did not fire in {FIRING_TIMEOUT_S:g} s: {stands}.",
        hint=f"tidemill triggers show {TRIGGER} says what holds it back.",
    )


def _firings(demo: DemoContext) -> list[Firing]:
    return demo.owner.triggers.firings(TRIGGER).items


def _check_drift(demo: DemoContext) -> DriftReport:
    with progress_display(demo.terminal, MONITOR) as watch:
        return demo.owner.drift.check(MONITOR, watch=watch)


def _print_report(demo: DemoContext, report: DriftReport) -> None:
    style = "bold yellow" if report.verdict == "drift" else "green"
    demo.say(f"{MONITOR}: {report.verdict.replace('_', ' ')}", style=style)
    demo.say(report.summary)
    demo.rows(
        ["test", "effect", "smallest that counts", "p", "adjusted p", "verdict"],
        [
            [t.name, f"{t.effect:.3f}", f"{t.minimum_effect:.3f}", f"{t.p_value:.4f}", f"{t.adjusted_p:.4f}", t.verdict]
            for t in report.tests
        ],
    )
    for cluster in report.clusters[:2]:
        if report.verdict == "drift" and cluster.examples:
            demo.say(
                f"{cluster.share_reference:.0%} -> {cluster.share_window:.0%} of {cluster.field}:"
                f" {', '.join(cluster.terms[:5])}; '{cluster.examples[0].text}'"
            )
    demo.results["drift_report"] = report


def _run_traffic(demo: DemoContext, batch: str, rows: list[dict[str, Any]], label: str) -> list[JudgedAnswer]:
    users = SimulatedUsers(demo, batch, rows)
    try:
        answers = users.ask(label)
    finally:
        users.close()
    failed = f", {users.failed} calls failed" if users.failed else ""
    demo.say(f"{len(answers)} {label}: {accuracy(answers):.1%} answered right, say their users{failed}.")
    return answers


def _rows(demo: DemoContext, split: str) -> list[dict[str, Any]]:
    dataset = demo.results["dataset"]
    return list(demo.owner.data.rows(f"{dataset.dataset}@{dataset.version}", split=split))


def _import_core(demo: DemoContext) -> None:
    """A part of the first questions, kept in the mix so that retraining forgets nothing."""
    rows = _rows(demo, "train")[: demo.size.core]
    split = {"ratios": {"train": 0.85, "validation": 0.15}, "seed": 7, "allow_empty_classes": True}
    _import_labelled(demo, CORE, rows, f"A part of {DATASET}, against forgetting.", split)


def _import_expert(demo: DemoContext) -> None:
    """What a domain expert wrote and labelled before the new channel opened; nothing is trained on it."""
    rows = shifted(_rows(demo, "test"), demo.size.sample, seed=5, share=1.0)
    split = {"ratios": {"test": 1.0}, "allow_empty_classes": True}
    version = _import_labelled(demo, TEXTED, rows, "Texted questions, labelled by an expert.", split)
    count = sum(s.rows for s in version.splits)
    demo.say(
        f"A channel for telephones opens soon: an expert has labelled {count} texted questions ({version.ref}), to"
        " measure by and never to train on."
    )


def _import_labelled(
    demo: DemoContext, name: str, rows: list[dict[str, Any]], description: str, split: dict[str, Any]
) -> DatasetVersion:
    folder = Path(demo.home) / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.jsonl"
    lines = [json.dumps({"text": r["text"], "label": r["label"]}) for r in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return demo.owner.data.import_(
        path,
        name=name,
        row_schema="classification",
        mapping={"fields": {"text": "text", "label": "label"}, "labels": LABELS},
        split=split,
        catalogue={"description": description, "owner": "dana"},
    )


def _analysis_step(answers: int) -> dict[str, Any]:
    return {
        "analysis": {
            "scores": [{"name": SCORE, "margin": 0.1}],
            "min_answers": answers,
            "max_duration": "10m",
            "otherwise": "hold",
        }
    }


def _document(demo: DemoContext) -> dict[str, Any]:
    tuned = demo.results["tuning"]
    return {
        "version": 1,
        "name": PIPELINE,
        "description": "Answers a question with its type; learns from what users correct.",
        "model": next(o.ref for o in tuned.outputs if o.kind == "merged"),
        "prompt": f"{PROMPT}@production",
        "data": {
            "dataset": CORE,
            "feedback": {"label_field": "type", "minimum": 50, "per_user": 20, "share": 0.5, "into": "trec-live"},
        },
        "tuning": {
            "name": "trec-live",
            "answer_template": QUESTION_TYPES.answer_template,
            "training": demo.size.retraining,
            "proof": demo.size.reproof,
        },
        "release": {"name": RELEASE, "sampling": SAMPLING, "note": "learnt from what users corrected"},
        **_eval_sections(demo),
        **_environment_sections(),
        **_monitor_sections(demo),
    }


def _eval_sections(demo: DemoContext) -> dict[str, Any]:
    dataset = demo.results["dataset"]
    old, new = demo.results["eval_set"].name, f"{TEXTED}-test"
    first = {"dataset": f"{dataset.dataset}@{dataset.version}", "split": "test", "limit": demo.size.questions}
    non_inferiority = {"kind": "non_inferiority", "margin": demo.size.margin}
    return {
        "evals": [
            {"name": old, **first, "scorers": scorers()},
            {"name": new, "dataset": TEXTED, "split": "test", "scorers": scorers()},
        ],
        "gates": [
            {"name": "better-on-texted", "eval": new, "metric": METRIC, "minimum_effect": demo.size.gain},
            {"name": "forgets-nothing", "eval": old, "metric": METRIC, **non_inferiority},
        ],
    }


def _environment_sections() -> dict[str, Any]:
    steps = [{"weight": 10}, _analysis_step(20), {"weight": 50}, _analysis_step(60), {"weight": 100}]
    return {"environments": ["dev", "qa", {"name": "prod", "approval": True, "rollout": {"steps": steps}}]}


def _monitor_sections(demo: DemoContext) -> dict[str, Any]:
    dataset = demo.results["dataset"]
    return {
        "monitors": [
            {
                "name": MONITOR,
                "environment": "prod",
                "release": RELEASE,
                "reference": {"kind": "dataset", "dataset": f"{dataset.dataset}@{dataset.version}", "split": "train"},
                "window": {"rows": demo.size.window},
                "minimum_rows": min(demo.size.window, 100),
                "fields": ["inputs", "outputs"],
                "label_field": "type",
                "labels": LABELS,
            }
        ],
        "kpis": [{"name": KPI, "score": SCORE, "target": {"environment": "prod"}, "floor": FLOOR, "window_s": 1800}],
        "triggers": [{"name": TRIGGER, "drift": [MONITOR], "kpis": [KPI], "expected_minutes": 15}],
    }
