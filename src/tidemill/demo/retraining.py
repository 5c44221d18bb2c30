"""The loop runs: a run retrains, judges and asks; a canary moves users over; a broken release is sent back."""

import itertools
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tidemill.core.errors import NotFound
from tidemill.demo.context import PEOPLE, DemoContext
from tidemill.demo.evaluation import RELEASE, SAMPLING
from tidemill.demo.informal import shifted
from tidemill.demo.monitoring import PIPELINE
from tidemill.demo.traffic import SCORE, SimulatedUsers
from tidemill.pipelines.types import RunDetail
from tidemill.rollouts.types import OPEN, Rollout

WRONG_TEMPLATE = "<s>[INST] {{ messages[0]['content'] }} [/INST]"
"""A template of another model family. It renders the first message only, so that no question reaches the model."""
WRONG_MODEL = "other-template"
MAX_GROUPS = 200
"""Groups of questions that a rollout is watched for at most."""


def retrain(demo: DemoContext) -> None:
    """Follow the run that the trigger started, until it asks a person."""
    run = demo.owner.runs.get(PIPELINE)
    demo.say(f"{run.ref}: {', '.join(c.by for c in run.causes)} started it.")
    run = demo.owner.runs.wait(run.id, check=False, until_waiting=True, watch=_StepPrinter(demo))
    demo.results["run"] = run
    if run.state in ("refused", "failed", "cancelled", "rejected"):
        demo.say(f"{run.ref} is {run.state}: {run.error.message if run.error else run.summary}", style="bold yellow")


class _StepPrinter:
    """Prints each step of a run once: when it is done, waits or has failed."""

    def __init__(self, demo: DemoContext) -> None:
        self.demo, self.printed = demo, set[str]()

    def __call__(self, run: RunDetail) -> None:
        """Print the steps that are new."""
        for step in run.steps:
            if step.id in self.printed or not (step.done or step.state in ("waiting", "failed")):
                continue
            self.printed.add(step.id)
            mark = {"waiting": "…", "failed": "✗"}.get(step.state, "✓")
            self.demo.say(f"{mark} {step.name}: {step.note or step.progress or step.state}")


def approve(demo: DemoContext) -> None:
    """Approve the candidate as a second person, when its gates passed."""
    run: RunDetail = demo.results["run"]
    if run.release is None or run.verdict != "pass":
        demo.say("No release has passed its gates, so nobody is asked.", style="yellow")
        return
    pending = demo.amir.releases.clearance(run.release, "prod").approval
    if pending is not None and pending.state == "pending":
        pending = demo.amir.releases.approve(pending.id, reason="better for the new crowd, and nothing is forgotten")
    if pending is not None:
        demo.say(f"{PEOPLE['amir'][0]} saw '{pending.verdict}' and {pending.state} it: '{pending.reason}'")


def canary(demo: DemoContext) -> None:
    """Users go on asking while the canary grows from 10% to everybody."""
    run: RunDetail = demo.results["run"]
    if run.release is None or run.verdict != "pass":
        demo.say("There is nothing to roll out.", style="yellow")
        return
    rollout = _wait_for_rollout(demo, run.release)
    rollout = _follow_rollout(demo, rollout, "canary")
    run = demo.owner.runs.wait(run.id, check=False, timeout=120)
    demo.results["run"], demo.results["canary"] = run, rollout
    demo.say(f"{run.ref}: {run.state}. {run.summary}")


def _wait_for_rollout(demo: DemoContext, release: str) -> Rollout:
    run = demo.results["run"]

    def newest() -> Rollout | None:
        return next(iter(demo.owner.rollouts.list(environment="prod", release=release, limit=1).items), None)

    for _ in range(600):
        rollout = newest()
        if rollout is not None:
            return rollout
        run = demo.owner.runs.get(run.id)
        if run.ended:
            break
        time.sleep(0.2)
    raise NotFound(f"{run.ref} is {run.state} and has rolled out nothing.", hint=f"tidemill runs show {run.ref}")


def _follow_rollout(demo: DemoContext, rollout: Rollout, batch: str) -> Rollout:
    """Let users ask until the rollout has ended, and print its steps."""
    dataset = demo.results["dataset"]
    rows = list(demo.owner.data.rows(f"{dataset.dataset}@{dataset.version}", split="test"))
    printed = _print_moves(demo, rollout.id, 0)
    for number in itertools.count():
        if demo.owner.rollouts.get(rollout.id).state not in OPEN or number >= MAX_GROUPS:
            break
        chosen = shifted(rows, 12, seed=1000 + number, share=0.6)
        users = SimulatedUsers(demo, f"{batch}-{rollout.id[-6:]}-{number}", chosen)
        try:
            users.ask_group(range(len(chosen)))
        finally:
            users.close()
        printed = _print_moves(demo, rollout.id, printed)
    _print_moves(demo, rollout.id, printed)
    return demo.owner.rollouts.get(rollout.id)


def _print_moves(demo: DemoContext, rollout_id: str, printed: int) -> int:
    history = demo.owner.rollouts.show(rollout_id).history
    for step in history[printed:]:
        style = "bold red" if step.move == "rolled_back" else "bold green" if step.move == "promoted" else ""
        demo.say(f"{step.at:%H:%M:%S} {step.move.replace('_', ' ')} at {step.weight:g}%: {step.reason}", style=style)
    return len(history)


def broken_release(demo: DemoContext) -> None:
    """Someone in a hurry forces a release with another model's chat template into prod; its canary is judged all
    the same."""
    release = _create_broken_release(demo)
    demo.say(f"{release.ref}: the same weights, the chat template of another model family.")
    rollouts = demo.owner.rollouts.list(environment="prod", release=release.ref, limit=1).items
    rollout = rollouts[0] if rollouts else _force_rollout(demo, release.ref)
    rollout = _follow_rollout(demo, rollout, "broken")
    demo.results["broken"] = rollout
    last = demo.owner.rollouts.show(rollout.id).history[-1]
    if last.evidence is not None:
        for score in last.evidence.scores:
            if score.canary_mean is not None and score.baseline_mean is not None:
                demo.say(
                    f"{score.name}: {score.baseline_mean:.0%} before, {score.canary_mean:.0%} in the canary after"
                    f" {score.canary_answers} answers; e-value {score.worse:,.0f}, {score.needed:g} decides."
                )
    live = next(d for d in demo.owner.deployments.list(environment="prod", active=True) if d.name == RELEASE)
    demo.say(f"prod answers with {live.release}; nobody had to get up.")


def _force_rollout(demo: DemoContext, release: str) -> Rollout:
    rule = {"analysis": {"scores": [{"name": SCORE, "margin": 0.1}], "min_answers": 60, "max_duration": "10m"}}
    steps: list[Any] = [{"weight": 50}, rule, {"weight": 100}]
    return demo.owner.rollouts.start(release, "prod", steps=steps, force_reason="the demo shows what holds it up")


def _create_broken_release(demo: DemoContext) -> Any:
    live = next(d for d in demo.owner.deployments.list(environment="prod", active=True) if d.name == RELEASE)
    try:
        model = demo.owner.models.get(f"{WRONG_MODEL}@1")
    except NotFound:
        model = _register_with_template(demo, demo.owner.releases.get(live.release).manifest.model.files[0].hash)
    prompt = demo.results["prompt"]
    return demo.dana.releases.create(
        RELEASE,
        model=model.ref,
        prompt=f"{prompt.name}@{prompt.number}",
        sampling=SAMPLING,
        note="with another chat template",
    )


def _register_with_template(demo: DemoContext, digest: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path, changed = Path(folder) / "model.gguf", Path(folder) / f"{WRONG_MODEL}.gguf"
        demo.owner.blobs.get(digest, path)
        argv = [sys.executable, "-m", "gguf.scripts.gguf_new_metadata", str(path), str(changed)]
        subprocess.run(
            [*argv, "--chat-template", WRONG_TEMPLATE, "--force"], check=True, capture_output=True, timeout=120
        )
        return demo.dana.models.add(changed, name=WRONG_MODEL, description="The demo's: another chat template.")
