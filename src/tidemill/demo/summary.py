"""The last chapter: the whole story in figures, where it is kept, and what to type next."""

import os
import shutil
import sys
from typing import Any

from tidemill.core.terminal import duration
from tidemill.demo.context import DemoContext
from tidemill.demo.evaluation import METRIC, RELEASE
from tidemill.demo.monitoring import PIPELINE
from tidemill.evals.types import EvalRun
from tidemill.governance.cli import tree
from tidemill.releases.types import GateResult


def print_summary(demo: DemoContext) -> None:
    """The story in figures, and what to type next."""
    _print_first_release(demo)
    _print_retraining(demo)
    demo.out.print()
    demo.say("What to type next:", style="bold")
    release = demo.results["tuned_release"]
    for words, why in (
        ("up", "serve it again, in this folder; the rest goes into another terminal"),
        (f'ask prod/{RELEASE} "wer iz da louvre"', "talk to it"),
        (f"runs show {PIPELINE}", "what the loop did, step by step"),
        ("traces list", "what users asked"),
        (f"releases evidence {release.ref}", "everything that an auditor asks"),
        (f"lineage {demo.results['answer']}", "where an answer came from"),
    ):
        demo.say(f"# {why}", style="dim")
        demo.say(f"{_program()} {words}", style="cyan")


def _print_first_release(demo: DemoContext) -> None:
    verdict, release = demo.results["verdict"], demo.results["tuned_release"]
    demo.rows(
        ["", "accuracy"],
        [
            ["Naive Bayes", _accuracy(demo.results["bayes_run"])],
            ["base model", _accuracy(demo.results["base_run"])],
            [f"{release.ref} in prod", _accuracy(demo.results["tuned_run"])],
        ],
    )
    demo.say(f"Tuned minus base: {_difference(verdict)}")
    demo.say(f"Release {release.ref} {release.content_hash}")


def _difference(verdict: GateResult) -> str:
    primary = verdict.evidence.primary
    difference = primary.difference
    return (
        f"{100 * difference.delta:+.1f} points, {difference.confidence:.0%} interval {100 * difference.low:+.1f} to"
        f" {100 * difference.high:+.1f}, p {_p(primary.p_value)}, {difference.n_pairs} pairs in"
        f" {difference.n_clusters} clusters."
    )


def _print_retraining(demo: DemoContext) -> None:
    facts = demo.results
    run = facts["run"]
    rows: list[list[Any]] = [
        [
            "users were answered right",
            f"{facts['quiet_share']:.1%} as usual, {facts['shift_share']:.1%} of the new crowd",
        ]
    ]
    report = facts.get("drift_report")
    strongest = report.strongest if report is not None else None
    if strongest is not None:
        rows.append(
            [
                "the monitor saw",
                f"{strongest.name}: effect {strongest.effect:.3f}, adjusted p {_p(strongest.adjusted_p)}",
            ]
        )
    rows.append(["both conditions started", f"{run.ref} ({run.state})"])
    if run.release is not None:
        for result in demo.owner.releases.verdicts(run.release).items:
            rows.append([f"gate {result.gate}", f"{result.verdict}: {_difference(result)}"])
    if (canary := facts.get("canary")) is not None:
        took = (canary.ended_at - canary.requested_at).total_seconds() if canary.ended_at else 0
        rows.append(["the canary of", f"{canary.release} is {canary.state.replace('_', ' ')} after {duration(took)}"])
    broken = facts["broken"]
    if broken.ended_at is not None and broken.began_at is not None:
        took = (broken.ended_at - broken.began_at).total_seconds()
        rows.append(
            ["the broken release", f"{broken.release} is {broken.state.replace('_', ' ')} after {duration(took)}"]
        )
    demo.out.print()
    demo.rows(["the way back", ""], rows)
    if run.release is not None:
        release = demo.owner.releases.get(run.release)
        graph = demo.owner.governance.lineage(release.id)
        demo.out.print()
        demo.show(tree(graph.node, graph.up, "was made from", up=True, calls={}))


def _program() -> str:
    """Return the command as the reader can type it here."""
    if shutil.which("tidemill"):
        return "tidemill"
    return os.path.relpath(sys.argv[0])


def _accuracy(run: EvalRun) -> str:
    metric = run.metric(METRIC)
    return "-" if metric is None or metric.mean is None else f"{metric.mean:.1%}"


def _p(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"= {value:.4f}"
