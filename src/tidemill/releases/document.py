"""The evidence page of a release as Markdown, for people who must answer for it."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tidemill.core.event_types import Event
from tidemill.core.lineage_types import LineageGraph
from tidemill.evals.types import EvalRun, MetricVerdict
from tidemill.registry.types import ModelEvidence
from tidemill.releases.types import Approval, Clearance, FrozenModel, Gate, GateResult, Release


@dataclass(frozen=True)
class ReleaseEvidence:
    """The contents of the evidence page."""

    release: Release
    results: list[GateResult]
    gates: dict[str, Gate]
    runs: dict[str, EvalRun]
    approvals: list[Approval]
    model_evidence: list[ModelEvidence]
    lineage: LineageGraph | None
    clearances: list[Clearance]
    history: list[Event]
    """Events of its rollouts, newest first."""


def render(evidence: ReleaseEvidence) -> str:
    """Return the evidence page as Markdown."""
    release = evidence.release
    sections = [
        f"# Evidence for {release.ref}",
        _pairs(
            [
                ("Content hash", f"`{release.content_hash}`"),
                ("Id", f"`{release.id}`"),
                ("Made", f"{release.created_at:%Y-%m-%d %H:%M:%S} UTC by {release.created_by}"),
                ("Note", release.note or "-"),
            ]
        ),
        "## May it go?",
        _clearances(evidence.clearances),
        "## Contents",
        _contents(release),
        "## Parity",
        _parity(evidence.model_evidence),
        "## Gates",
        "\n\n".join(_result(r, evidence) for r in evidence.results) or "No gate has judged this release.",
        "## Approvals",
        "\n\n".join(_approval(a) for a in evidence.approvals) or "Nobody has asked for approval.",
        "## Rollouts",
        _history(evidence.history),
        "## Lineage",
        _lineage(evidence.lineage),
    ]
    return "\n\n".join(sections) + "\n"


def _history(history: Sequence[Event]) -> str:
    rows = [
        [
            f"{event.at:%Y-%m-%d %H:%M:%S} UTC",
            event.kind.removeprefix("release.").replace("_", " "),
            str(event.data["environment"]),
            str(event.data["reason"]),
            event.actor_name,
        ]
        for event in history
    ]
    return _table(["When", "What", "Where", "Why", "Who"], rows) if rows else "It was never rolled out step by step."


def _clearances(clearances: Sequence[Clearance]) -> str:
    rows = [
        [c.environment, "yes" if c.allowed else "no", " ".join(c.reasons) if c.reasons else "-"] for c in clearances
    ]
    return _table(["Environment", "May go", "Why not"], rows)


def _contents(release: Release) -> str:
    manifest = release.manifest
    rows: list[tuple[str, str]] = [*_model("Model", manifest.model)]
    rows += _model("Adapter", manifest.adapter) if manifest.adapter is not None else [("Adapter", "none")]
    sampling = manifest.sampling.model_dump(exclude_defaults=True)
    rows += [
        ("Prompt", f"{manifest.prompt.ref} `{manifest.prompt.version_id}`" if manifest.prompt is not None else "none"),
        ("Sampling", f"`{json.dumps(sampling, ensure_ascii=False)}`" if sampling else "the engine's own"),
        ("Tools", str(len(manifest.tools)) if manifest.tools else "none"),
        ("Guards", ", ".join(manifest.guards) or "none"),
        ("Index", manifest.index or "none"),
    ]
    text = _pairs(rows)
    for message in manifest.prompt.messages if manifest.prompt is not None else []:
        quoted = "\n".join(f"> {line}" for line in message.content.splitlines())
        text += f"\n\nPrompt message ({message.role}):\n\n{quoted}"
    return text


def _model(title: str, model: FrozenModel) -> list[tuple[str, str]]:
    return [
        (title, f"{model.ref} `{model.version_id}` ({model.kind}, {model.format})"),
        (f"{title} content", f"`{model.content_hash}`"),
        (f"{title} chat template", f"`{model.chat_template_hash}`" if model.chat_template_hash else "none"),
        *((f"{title} file {f.path}", f"`{f.hash}` ({f.size} bytes)") for f in model.files),
    ]


def _parity(items: Sequence[ModelEvidence]) -> str:
    rows = [[e.hop, "passed" if e.passed else "failed", _time(e.at), e.summary] for e in items]
    return _table(["Hop", "Outcome", "At", "Summary"], rows) if rows else "None."


def _result(result: GateResult, evidence: ReleaseEvidence) -> str:
    gate, comparison = evidence.gates[result.gate_id], result.evidence
    verdicts = [_metric(comparison.primary, "primary"), *(_metric(g, "guardrail") for g in comparison.guardrails)]
    header = ["Metric", "Role", "Baseline", "Candidate", "Difference", "Interval", "p", "Pairs", "Verdict"]
    lines = [
        f"### {result.gate}: {result.verdict}",
        result.summary,
        _pairs(
            [
                ("Gate hash", f"`{result.gate_hash}`"),
                ("Declared", f"{_time(gate.declared_at)} by {gate.declared_by}"),
                ("Judged", f"{_time(result.at)} by {result.by}"),
                ("Terms", f"{gate.kind} on {gate.metric}, alpha {gate.alpha:g}, power {gate.power:g}"),
                ("Smallest difference it can see", f"{comparison.minimum_detectable_effect:.4g}"),
                ("Comparison", f"`{result.comparison_id}`"),
                ("Baseline run", _run(evidence.runs[result.baseline_run])),
                ("Candidate run", _run(evidence.runs[result.candidate_run])),
            ]
        ),
        _table(header, verdicts),
        *(f"- Warning: {w}" for w in result.warnings),
    ]
    return "\n\n".join(lines)


def _run(run: EvalRun) -> str:
    target = run.spec.target.model_dump(exclude_none=True, exclude={"kind"})
    subject = run.release or ", ".join(str(v) for v in target.values())
    return f"`{run.id}` on {run.eval_set}, asked {subject}, started {_time(run.created_at)}"


def _metric(verdict: MetricVerdict, role: str) -> list[str]:
    difference = verdict.difference
    return [
        verdict.metric,
        role,
        f"{difference.baseline_mean:.4g}",
        f"{difference.candidate_mean:.4g}",
        f"{difference.delta:+.4g}",
        f"{difference.low:+.4g} to {difference.high:+.4g} ({difference.confidence:.0%})",
        f"{verdict.p_adjusted:.3g}",
        f"{difference.n_pairs} in {difference.n_clusters} clusters",
        verdict.outcome,
    ]


def _approval(approval: Approval) -> str:
    rows = [
        ("Asked", f"{_time(approval.requested_at)} by {approval.requested_by_name}"),
        ("Note", approval.note or "-"),
        ("Lapses", _time(approval.expires_at)),
        ("Gates' verdict", approval.verdict or "none"),
    ]
    if approval.decided_at is not None:
        rows += [
            ("Decided", f"{_time(approval.decided_at)} by {approval.decided_by_name}"),
            ("Reason", approval.reason or "-"),
            ("Override", approval.override or "-"),
        ]
    if approval.withdrawn_at is not None:
        rows += [
            ("Withdrawn", f"{_time(approval.withdrawn_at)} by {approval.withdrawn_by_name}"),
            ("Why", approval.withdrawn_reason or "-"),
        ]
    return f"### {approval.environment}: {approval.state} (`{approval.id}`)\n\n{_pairs(rows)}"


def _lineage(graph: LineageGraph | None) -> str:
    if graph is None:
        return "None recorded."
    labels = {n.id: f"{n.kind.replace('_', ' ')} {n.label}" for n in graph.nodes}
    rows = [
        [labels.get(e.child_id, e.child_id), e.relation.replace("_", " "), labels.get(e.parent_id, e.parent_id)]
        for e in graph.edges
    ]
    return _table(["Thing", "Relation", "To"], rows)


def _time(time: Any) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def _pairs(rows: Iterable[tuple[str, str]]) -> str:
    return _table(["", ""], [[name, value] for name, value in rows])


def _table(header: list[str], rows: Iterable[list[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return "\n".join(lines)
