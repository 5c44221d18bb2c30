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
class Facts:
    """All that the page tells."""

    release: Release
    results: list[GateResult]
    gates: dict[str, Gate]
    runs: dict[str, EvalRun]
    approvals: list[Approval]
    model_evidence: list[ModelEvidence]
    lineage: LineageGraph | None
    clearances: list[Clearance]
    history: list[Event]
    """What became of it where it was rolled out, newest first."""


def render(facts: Facts) -> str:
    """The page."""
    release = facts.release
    parts = [
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
        _clearances(facts.clearances),
        "## Contents",
        _contents(release),
        "## Parity",
        _parity(facts.model_evidence),
        "## Gates",
        "\n\n".join(_result(r, facts) for r in facts.results) or "No gate has judged this release.",
        "## Approvals",
        "\n\n".join(_approval(a) for a in facts.approvals) or "Nobody has asked for approval.",
        "## Rollouts",
        _history(facts.history),
        "## Lineage",
        _lineage(facts.lineage),
    ]
    return "\n\n".join(parts) + "\n"


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
    held = release.manifest
    rows: list[tuple[str, str]] = [*_model("Model", held.model)]
    rows += _model("Adapter", held.adapter) if held.adapter is not None else [("Adapter", "none")]
    sampling = held.sampling.model_dump(exclude_defaults=True)
    rows += [
        ("Prompt", f"{held.prompt.ref} `{held.prompt.version_id}`" if held.prompt is not None else "none"),
        ("Sampling", f"`{json.dumps(sampling, ensure_ascii=False)}`" if sampling else "the engine's own"),
        ("Tools", str(len(held.tools)) if held.tools else "none"),
        ("Guards", ", ".join(held.guards) or "none"),
        ("Index", held.index or "none"),
    ]
    text = _pairs(rows)
    for message in held.prompt.messages if held.prompt is not None else []:
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


def _result(result: GateResult, facts: Facts) -> str:
    gate, found = facts.gates[result.gate_id], result.evidence
    verdicts = [_metric(found.primary, "primary"), *(_metric(g, "guardrail") for g in found.guardrails)]
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
                ("Smallest difference it can see", f"{found.minimum_detectable_effect:.4g}"),
                ("Comparison", f"`{result.comparison_id}`"),
                ("Baseline run", _run(facts.runs[result.baseline_run])),
                ("Candidate run", _run(facts.runs[result.candidate_run])),
            ]
        ),
        _table(header, verdicts),
        *(f"- Warning: {w}" for w in result.warnings),
    ]
    return "\n\n".join(lines)


def _run(run: EvalRun) -> str:
    target = run.spec.target.model_dump(exclude_none=True, exclude={"kind"})
    asked = run.release or ", ".join(str(v) for v in target.values())
    return f"`{run.id}` on {run.eval_set}, asked {asked}, started {_time(run.created_at)}"


def _metric(verdict: MetricVerdict, part: str) -> list[str]:
    seen = verdict.difference
    return [
        verdict.metric,
        part,
        f"{seen.baseline_mean:.4g}",
        f"{seen.candidate_mean:.4g}",
        f"{seen.delta:+.4g}",
        f"{seen.low:+.4g} to {seen.high:+.4g} ({seen.confidence:.0%})",
        f"{verdict.p_adjusted:.3g}",
        f"{seen.n_pairs} in {seen.n_clusters} clusters",
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


def _time(moment: Any) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _pairs(rows: Iterable[tuple[str, str]]) -> str:
    return _table(["", ""], [[name, value] for name, value in rows])


def _table(header: list[str], rows: Iterable[list[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return "\n".join(lines)
