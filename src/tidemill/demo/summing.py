"""The last chapter: the whole story in figures, where it is kept, and what to type next."""

import os
import shutil
import sys
from typing import Any

from tidemill.core.terminal import duration
from tidemill.demo.judging import METRIC, RELEASE
from tidemill.demo.stage import Stage
from tidemill.demo.watching import PIPELINE
from tidemill.evals.types import EvalRun
from tidemill.governance.cli import tree
from tidemill.releases.types import GateResult


def summary(stage: Stage) -> None:
    """The story in figures, and what to type next."""
    _first_mile(stage)
    _way_back(stage)
    stage.out.print()
    stage.say("What to type next:", style="bold")
    release = stage.facts["tuned_release"]
    for words, why in (
        ("up", "serve it again, in this folder; the rest goes into another terminal"),
        (f'ask prod/{RELEASE} "wer iz da louvre"', "talk to it"),
        (f"runs show {PIPELINE}", "what the loop did, step by step"),
        ("traces list", "what users asked"),
        (f"releases evidence {release.ref}", "everything that an auditor asks"),
        (f"lineage {stage.facts['answer']}", "where an answer came from"),
    ):
        stage.say(f"# {why}", style="dim")
        stage.say(f"{_program()} {words}", style="cyan")


def _first_mile(stage: Stage) -> None:
    verdict, release = stage.facts["verdict"], stage.facts["tuned_release"]
    stage.rows(
        ["", "accuracy"],
        [
            ["Naive Bayes", _accuracy(stage.facts["bayes_run"])],
            ["base model", _accuracy(stage.facts["base_run"])],
            [f"{release.ref} in prod", _accuracy(stage.facts["tuned_run"])],
        ],
    )
    stage.say(f"Tuned minus base: {_difference(verdict)}")
    stage.say(f"Release {release.ref} {release.content_hash}")


def _difference(verdict: GateResult) -> str:
    primary = verdict.evidence.primary
    found = primary.difference
    return (
        f"{100 * found.delta:+.1f} points, {found.confidence:.0%} interval {100 * found.low:+.1f} to"
        f" {100 * found.high:+.1f}, p {_p(primary.p_value)}, {found.n_pairs} pairs in {found.n_clusters} clusters."
    )


def _way_back(stage: Stage) -> None:
    facts = stage.facts
    run = facts["run"]
    told: list[list[Any]] = [
        [
            "users were answered right",
            f"{facts['quiet_share']:.1%} as usual, {facts['shift_share']:.1%} of the new crowd",
        ]
    ]
    report = facts.get("drift_report")
    strongest = report.strongest if report is not None else None
    if strongest is not None:
        told.append(
            [
                "the monitor saw",
                f"{strongest.name}: effect {strongest.effect:.3f}, adjusted p {_p(strongest.adjusted_p)}",
            ]
        )
    told.append(["two keys started", f"{run.ref} ({run.state})"])
    if run.release is not None:
        for result in stage.owner.releases.verdicts(run.release).items:
            told.append([f"gate {result.gate}", f"{result.verdict}: {_difference(result)}"])
    if (canary := facts.get("canary")) is not None:
        took = (canary.ended_at - canary.requested_at).total_seconds() if canary.ended_at else 0
        told.append(["the canary of", f"{canary.release} is {canary.state.replace('_', ' ')} after {duration(took)}"])
    broken = facts["broken"]
    if broken.ended_at is not None and broken.began_at is not None:
        took = (broken.ended_at - broken.began_at).total_seconds()
        told.append(
            ["the broken release", f"{broken.release} is {broken.state.replace('_', ' ')} after {duration(took)}"]
        )
    stage.out.print()
    stage.rows(["the way back", ""], told)
    if run.release is not None:
        release = stage.owner.releases.get(run.release)
        found = stage.owner.governance.lineage(release.id)
        stage.out.print()
        stage.show(tree(found.node, found.up, "was made from", up=True, calls={}))


def _program() -> str:
    """The command as the reader can type it here."""
    if shutil.which("tidemill"):
        return "tidemill"
    return os.path.relpath(sys.argv[0])


def _accuracy(run: EvalRun) -> str:
    metric = run.metric(METRIC)
    return "-" if metric is None or metric.mean is None else f"{metric.mean:.1%}"


def _p(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"= {value:.4f}"
