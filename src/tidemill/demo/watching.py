"""Production talks back: users ask and judge, the loop is declared, the mix shifts, and a monitor sees it."""

import json
import time
from pathlib import Path
from typing import Any

import yaml

from tidemill.core.errors import Failed
from tidemill.data.types import DatasetVersion
from tidemill.demo.judging import LABELS, METRIC, RELEASE, SAMPLING, scorers
from tidemill.demo.making import DATASET, PROMPT
from tidemill.demo.stage import Stage
from tidemill.demo.texting import shifted
from tidemill.demo.traffic import SCORE, Crowd, Heard, share_right
from tidemill.drift.types import DriftReport
from tidemill.triggers.types import Firing
from tidemill.tuning.recipes import QUESTION_TYPES

PIPELINE = "question-type"
MONITOR, KPI, TRIGGER = "question-mix", "right-answers", "retrain"
CORE = "trec-core"
TEXTED = "texted"
FLOOR = 0.9
"""Nine of ten answers should be right, say the users."""
PATIENCE_S = 120.0


def quiet(stage: Stage) -> None:
    """Held-out questions come in as they always did, and users say what was right."""
    rows = _rows(stage, "validation")[: stage.size.quiet]
    heard = _listen(stage, "quiet", rows, "questions as usual")
    stage.facts["quiet_share"] = share_right(heard)


def declare_loop(stage: Stage) -> None:
    """Write the whole loop down, look at what it would change, and apply it."""
    _core(stage)
    _expert(stage)
    folder = Path(stage.home) / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    document = folder / "tidemill.yaml"
    document.write_text(yaml.safe_dump(_loop(stage), sort_keys=False, allow_unicode=True), encoding="utf-8")
    plan = stage.owner.pipelines.plan(document)
    stage.say(f"{document.relative_to(Path(stage.home).parent)} would change {len(plan.changes)} things:")
    for change in plan.changes[:8]:
        stage.say({"add": "+", "change": "~", "remove": "-"}[change.action] + f" {change.path}", style="dim")
    applied = stage.owner.pipelines.apply(document)
    stage.say(f"{applied.pipeline.ref} is applied. Nothing runs: no key of its trigger is turned.")
    if not _firings(stage):
        _tell(stage, stage.owner.drift.check(MONITOR))


def shift(stage: Stage) -> None:
    """A new crowd asks: texted on telephones, and more about numbers and people."""
    used = stage.size.quiet or 0
    rows = shifted(_rows(stage, "validation")[used:], stage.size.shifted, seed=11)
    for row in rows[:3]:
        stage.say(f"«{row['text']}»", style="dim")
    heard = _listen(stage, "shift", rows, "the new crowd")
    stage.facts["shift_share"] = share_right(heard)


def drift(stage: Stage) -> None:
    """The monitor sees the drift and the KPI sees the damage: both conditions are met, and the pipeline starts."""
    firing = next(iter(_firings(stage)), None)
    if firing is None:
        _tell(stage, stage.owner.drift.check(MONITOR))
        kpi = stage.owner.monitors.check(KPI).kpi
        if kpi is not None:
            stage.say(f"{KPI}: {kpi.verdict}. {kpi.why}")
        firing = _fired(stage)
    else:
        found = stage.owner.drift.reports(MONITOR).items
        stage.facts["drift_report"] = next((r for r in reversed(found) if r.verdict == "drift"), None)
    stage.say(f"The trigger {TRIGGER} fired at {firing.at:%H:%M:%S} UTC:", style="bold yellow")
    for reason in firing.reasons:
        stage.say(f"- {reason}")


def _fired(stage: Stage) -> Firing:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = _firings(stage)
        if found:
            return found[0]
        time.sleep(0.5)
    status = stage.owner.triggers.status(TRIGGER)
    conditions = {"data condition": status.data_condition, "quality condition": status.quality_condition}
    stands = "; ".join(f"{name} {'met' if one.met else 'not met'}" for name, one in conditions.items())
    raise Failed(
        f"The trigger {TRIGGER} did not fire in {PATIENCE_S:g} s: {stands}.",
        hint=f"tidemill triggers show {TRIGGER} says what holds it back.",
    )


def _firings(stage: Stage) -> list[Firing]:
    return stage.owner.triggers.firings(TRIGGER).items


def _tell(stage: Stage, report: DriftReport) -> None:
    style = "bold yellow" if report.verdict == "drift" else "green"
    stage.say(f"{MONITOR}: {report.verdict.replace('_', ' ')}", style=style)
    stage.say(report.summary)
    stage.rows(
        ["test", "effect", "smallest that counts", "p", "adjusted p", "verdict"],
        [
            [t.name, f"{t.effect:.3f}", f"{t.minimum_effect:.3f}", f"{t.p_value:.4f}", f"{t.adjusted_p:.4f}", t.verdict]
            for t in report.tests
        ],
    )
    for cluster in report.clusters[:2]:
        if report.verdict == "drift" and cluster.examples:
            stage.say(
                f"{cluster.share_reference:.0%} -> {cluster.share_window:.0%} of {cluster.field}:"
                f" {', '.join(cluster.terms[:5])}; «{cluster.examples[0].text}»"
            )
    stage.facts["drift_report"] = report


def _listen(stage: Stage, batch: str, rows: list[dict[str, Any]], label: str) -> list[Heard]:
    crowd = Crowd(stage, batch, rows)
    try:
        heard = crowd.ask(label)
    finally:
        crowd.close()
    failed = f", {crowd.failed} calls failed" if crowd.failed else ""
    stage.say(f"{len(heard)} {label}: {share_right(heard):.1%} answered right, say their users{failed}.")
    return heard


def _rows(stage: Stage, split: str) -> list[dict[str, Any]]:
    dataset = stage.facts["dataset"]
    return list(stage.owner.data.rows(f"{dataset.dataset}@{dataset.version}", split=split))


def _core(stage: Stage) -> None:
    """A part of the first questions, kept in the mix so that retraining forgets nothing."""
    rows = _rows(stage, "train")[: stage.size.core]
    split = {"ratios": {"train": 0.85, "validation": 0.15}, "seed": 7, "allow_empty_classes": True}
    _labelled(stage, CORE, rows, f"A part of {DATASET}, against forgetting.", split)


def _expert(stage: Stage) -> None:
    """What a domain expert wrote and labelled before the new channel opened; nothing is trained on it."""
    rows = shifted(_rows(stage, "test"), stage.size.sample, seed=5, share=1.0)
    split = {"ratios": {"test": 1.0}, "allow_empty_classes": True}
    version = _labelled(stage, TEXTED, rows, "Texted questions, labelled by an expert.", split)
    count = sum(s.rows for s in version.splits)
    stage.say(
        f"A channel for telephones opens soon: an expert has labelled {count} texted questions ({version.ref}), to"
        " measure by and never to train on."
    )


def _labelled(
    stage: Stage, name: str, rows: list[dict[str, Any]], description: str, split: dict[str, Any]
) -> DatasetVersion:
    folder = Path(stage.home) / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.jsonl"
    lines = [json.dumps({"text": r["text"], "label": r["label"]}) for r in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return stage.owner.data.import_(
        path,
        name=name,
        row_schema="classification",
        mapping={"fields": {"text": "text", "label": "label"}, "labels": LABELS},
        split=split,
        catalogue={"description": description, "owner": "dana"},
    )


def _rule(answers: int) -> dict[str, Any]:
    return {
        "analysis": {
            "scores": [{"name": SCORE, "margin": 0.1}],
            "min_answers": answers,
            "max_duration": "10m",
            "otherwise": "hold",
        }
    }


def _loop(stage: Stage) -> dict[str, Any]:
    tuned = stage.facts["tuning"]
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
            "training": stage.size.retraining,
            "proof": stage.size.reproof,
        },
        "release": {"name": RELEASE, "sampling": SAMPLING, "note": "learnt from what users corrected"},
        **_judged(stage),
        **_shipped(),
        **_watched(stage),
    }


def _judged(stage: Stage) -> dict[str, Any]:
    dataset = stage.facts["dataset"]
    old, new = stage.facts["eval_set"].name, f"{TEXTED}-test"
    first = {"dataset": f"{dataset.dataset}@{dataset.version}", "split": "test", "limit": stage.size.questions}
    kept = {"kind": "non_inferiority", "margin": stage.size.margin}
    return {
        "evals": [
            {"name": old, **first, "scorers": scorers()},
            {"name": new, "dataset": TEXTED, "split": "test", "scorers": scorers()},
        ],
        "gates": [
            {"name": "better-on-texted", "eval": new, "metric": METRIC, "minimum_effect": stage.size.gain},
            {"name": "forgets-nothing", "eval": old, "metric": METRIC, **kept},
        ],
    }


def _shipped() -> dict[str, Any]:
    steps = [{"weight": 10}, _rule(20), {"weight": 50}, _rule(60), {"weight": 100}]
    return {"environments": ["dev", "qa", {"name": "prod", "approval": True, "rollout": {"steps": steps}}]}


def _watched(stage: Stage) -> dict[str, Any]:
    dataset = stage.facts["dataset"]
    return {
        "monitors": [
            {
                "name": MONITOR,
                "environment": "prod",
                "release": RELEASE,
                "reference": {"kind": "dataset", "dataset": f"{dataset.dataset}@{dataset.version}", "split": "train"},
                "window": {"rows": stage.size.window},
                "minimum_rows": min(stage.size.window, 100),
                "fields": ["inputs", "outputs"],
                "label_field": "type",
                "labels": LABELS,
            }
        ],
        "kpis": [{"name": KPI, "score": SCORE, "target": {"environment": "prod"}, "floor": FLOOR, "window_s": 1800}],
        "triggers": [{"name": TRIGGER, "drift": [MONITOR], "kpis": [KPI], "expected_minutes": 15}],
    }
