"""The loop turns: a run retrains, judges and asks; a canary moves users over; a broken release is sent back."""

import itertools
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tidemill.core.errors import NotFound
from tidemill.demo.judging import RELEASE, SAMPLING
from tidemill.demo.stage import PEOPLE, Stage
from tidemill.demo.texting import shifted
from tidemill.demo.traffic import SCORE, Crowd
from tidemill.demo.watching import PIPELINE
from tidemill.deployments.rollouts.types import OPEN, Rollout
from tidemill.pipelines.types import RunDetail

WRONG_TEMPLATE = "<s>[INST] {{ messages[0]['content'] }} [/INST]"
"""A template of another model family. It renders the first message only, so that no question reaches the model."""
WRONG_MODEL = "other-template"
MOST_GROUPS = 200
"""Groups of questions that a rollout is watched for at most."""


def turn(stage: Stage) -> None:
    """Follow the run that the trigger started, until it asks a person."""
    run = stage.owner.runs.get(PIPELINE)
    stage.say(f"{run.ref}: {', '.join(c.by for c in run.causes)} started it.")
    run = stage.owner.runs.wait(run.id, check=False, until_waiting=True, watch=_Narrator(stage))
    stage.facts["run"] = run
    if run.state in ("refused", "failed", "cancelled", "rejected"):
        stage.say(f"{run.ref} is {run.state}: {run.error.message if run.error else run.summary}", style="bold yellow")


class _Narrator:
    """Tells each step of a run once, when it is done."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.told = stage, set[str]()

    def __call__(self, run: RunDetail) -> None:
        """Tell what is new."""
        for step in run.steps:
            if step.id in self.told or not (step.done or step.state in ("waiting", "failed")):
                continue
            self.told.add(step.id)
            mark = {"waiting": "…", "failed": "✗"}.get(step.state, "✓")
            self.stage.say(f"{mark} {step.name}: {step.note or step.progress or step.state}")


def approve(stage: Stage) -> None:
    """Somebody sees both verdicts and decides."""
    run: RunDetail = stage.facts["run"]
    if run.release is None or run.verdict != "pass":
        stage.say("No release has passed its gates, so nobody is asked.", style="yellow")
        return
    pending = stage.amir.releases.clearance(run.release, "prod").approval
    if pending is not None and pending.state == "pending":
        pending = stage.amir.releases.approve(pending.id, reason="better for the new crowd, and nothing is forgotten")
    if pending is not None:
        stage.say(f"{PEOPLE['amir'][0]} saw «{pending.verdict}» and {pending.state} it: «{pending.reason}»")


def canary(stage: Stage) -> None:
    """Users go on asking while the canary grows from 10% to everybody."""
    run: RunDetail = stage.facts["run"]
    if run.release is None or run.verdict != "pass":
        stage.say("There is nothing to roll out.", style="yellow")
        return
    found = _rollout_of(stage, run.release)
    rollout = _watched(stage, found, "canary")
    run = stage.owner.runs.wait(run.id, check=False, timeout=120)
    stage.facts["run"], stage.facts["canary"] = run, rollout
    stage.say(f"{run.ref}: {run.state}. {run.summary}")


def _rollout_of(stage: Stage, release: str) -> Rollout:
    run = stage.facts["run"]

    def found() -> Rollout | None:
        return next(iter(stage.owner.rollouts.list(environment="prod", release=release, limit=1).items), None)

    for _ in range(600):
        rollout = found()
        if rollout is not None:
            return rollout
        run = stage.owner.runs.get(run.id)
        if run.ended:
            break
        time.sleep(0.2)
    raise NotFound(f"{run.ref} is {run.state} and has rolled out nothing.", hint=f"tidemill runs show {run.ref}")


def _watched(stage: Stage, rollout: Rollout, batch: str) -> Rollout:
    """Let users ask until the rollout has ended, and tell its moves."""
    dataset = stage.facts["dataset"]
    rows = list(stage.owner.data.rows(f"{dataset.dataset}@{dataset.version}", split="test"))
    told = _moves(stage, rollout.id, 0)
    for number in itertools.count():
        if stage.owner.rollouts.get(rollout.id).state not in OPEN or number >= MOST_GROUPS:
            break
        chosen = shifted(rows, 12, seed=1000 + number, share=0.6)
        crowd = Crowd(stage, f"{batch}-{rollout.id[-6:]}-{number}", chosen)
        try:
            crowd.group(range(len(chosen)))
        finally:
            crowd.close()
        told = _moves(stage, rollout.id, told)
    _moves(stage, rollout.id, told)
    return stage.owner.rollouts.get(rollout.id)


def _moves(stage: Stage, rollout_id: str, told: int) -> int:
    history = stage.owner.rollouts.show(rollout_id).history
    for step in history[told:]:
        style = "bold red" if step.move == "rolled_back" else "bold green" if step.move == "promoted" else ""
        stage.say(f"{step.at:%H:%M:%S} {step.move.replace('_', ' ')} at {step.weight:g}%: {step.reason}", style=style)
    return len(history)


def broken(stage: Stage) -> None:
    """Someone in a hurry forces a release with another model's chat template into prod; its canary is judged all
    the same."""
    release = _broken_release(stage)
    stage.say(f"{release.ref}: the same weights, the chat template of another model family.")
    known = stage.owner.rollouts.list(environment="prod", release=release.ref, limit=1).items
    rollout = known[0] if known else _forced(stage, release.ref)
    rollout = _watched(stage, rollout, "broken")
    stage.facts["broken"] = rollout
    last = stage.owner.rollouts.show(rollout.id).history[-1]
    if last.evidence is not None:
        for score in last.evidence.scores:
            if score.canary_mean is not None and score.baseline_mean is not None:
                stage.say(
                    f"{score.name}: {score.baseline_mean:.0%} before, {score.canary_mean:.0%} in the canary after"
                    f" {score.canary_answers} answers; e-value {score.worse:,.0f}, {score.needed:g} decides."
                )
    live = next(d for d in stage.owner.deployments.list(environment="prod", active=True).items if d.name == RELEASE)
    stage.say(f"prod answers with {live.release}; nobody had to get up.")


def _forced(stage: Stage, release: str) -> Rollout:
    rule = {"analysis": {"scores": [{"name": SCORE, "margin": 0.1}], "min_answers": 60, "max_duration": "10m"}}
    steps: list[Any] = [{"weight": 50}, rule, {"weight": 100}]
    return stage.owner.rollouts.start(release, "prod", steps=steps, force_reason="the demo shows what holds it up")


def _broken_release(stage: Stage) -> Any:
    live = next(d for d in stage.owner.deployments.list(environment="prod", active=True).items if d.name == RELEASE)
    try:
        model = stage.owner.models.get(f"{WRONG_MODEL}@1")
    except NotFound:
        model = _with_template(stage, stage.owner.releases.get(live.release).manifest.model.files[0].hash)
    wanted = stage.facts["prompt"]
    return stage.dana.releases.create(
        RELEASE,
        model=model.ref,
        prompt=f"{wanted.name}@{wanted.number}",
        sampling=SAMPLING,
        note="with another chat template",
    )


def _with_template(stage: Stage, digest: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path, changed = Path(folder) / "model.gguf", Path(folder) / f"{WRONG_MODEL}.gguf"
        stage.owner.blobs.get(digest, path)
        argv = [sys.executable, "-m", "gguf.scripts.gguf_new_metadata", str(path), str(changed)]
        subprocess.run(
            [*argv, "--chat-template", WRONG_TEMPLATE, "--force"], check=True, capture_output=True, timeout=120
        )
        return stage.dana.models.add(changed, name=WRONG_MODEL, description="The demo's: another chat template.")
