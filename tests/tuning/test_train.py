"""The training process: it learns, it resumes after a kill, and the step log holds every step once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.tuning.conftest import sentence
from tidemill.tuning import checkpoints, step_log
from tidemill.tuning.compress.files import read_json, write_json
from tidemill.tuning.types import StepRecord

pytestmark = [pytest.mark.tune, pytest.mark.slow]


def prepare(folder: Path, base: Path, **training: Any) -> Path:
    folder.mkdir()
    for name, numbers in (("train", range(64)), ("eval", range(64, 96)), ("proof", range(64, 80))):
        lines = []
        for number in numbers:
            text, label = sentence(number)
            answer = {"role": "assistant", "content": json.dumps({"pet": label})}
            row = {"id": str(number), "messages": [{"role": "user", "content": text}, answer], "start": 0}
            lines.append(json.dumps(row) + "\n")
        (folder / f"{name}.jsonl").write_text("".join(lines))
    hparams = {"learning_rate": 1e-2, "max_steps": 24, "batch_size": 8, "gradient_accumulation": 2, "eval_every": 8}
    spec = {
        "base": str(base),
        "base_name": "tiny@1",
        **{name: str(folder / f"{name}.jsonl") for name in ("train", "eval", "proof")},
        "max_tokens": 8,
        "method": training.pop("method", "lora"),
        "lora": {"rank": 4, "alpha": 8, "dropout": 0.1},
        "training": hparams | {"eval_rows": 16, "checkpoint_every": 5, "precision": "fp32"} | training,
        "threads": 1,
    }
    write_json(folder / "spec.json", spec)
    return folder / "spec.json"


def start(spec: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tidemill.tuning.train", str(spec)], stdout=subprocess.DEVNULL
    )


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return load_file(folder / "adapter" / "adapter_model.safetensors")


def figures(folder: Path) -> list[tuple[int, float]]:
    return [(r.step, r.loss) for r in step_log.read(folder / "progress.jsonl")]


def test_a_killed_run_ends_as_one_that_was_never_killed(tiny: Path, tmp_path: Path) -> None:
    """Dropout draws random numbers: equal losses mean that data, optimiser, schedule and generators were all restored.

    The checkpoints take the form of release 0.1, in which the generators' states lay in another file.
    """
    calm, killed = prepare(tmp_path / "calm", tiny), prepare(tmp_path / "killed", tiny)
    assert start(calm).wait() == 0
    child = start(killed)
    while len(figures(killed.parent)) < 8:
        assert child.poll() is None
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    checkpoint = checkpoints.latest(killed.parent / "checkpoints")
    assert checkpoint is not None
    assert checkpoint.step % 5 == 0
    for path in (killed.parent / "checkpoints").glob("step-*/rng_state.safetensors"):
        path.rename(path.with_name("chance.safetensors"))
    with (killed.parent / "progress.jsonl").open("ab") as file:
        file.write(b'{"step": 999, "lo')  # a line that the kill cut off
    assert start(killed).wait() == 0

    assert figures(killed.parent) == figures(calm.parent)
    assert [step for step, _ in figures(killed.parent)] == list(range(1, 25))
    before, after = weights(calm.parent), weights(killed.parent)
    assert all((before[name] == after[name]).all() for name in before)
    answers = [(folder.parent / "answers.jsonl").read_text() for folder in (calm, killed)]
    assert answers[0] == answers[1]
    summary = read_json(killed.parent / "summary.json")
    assert (summary["steps"], summary["resumed"]) == (24, 1)
    assert start(killed).wait() == 0, "a finished run may be started again and changes nothing"
    assert figures(killed.parent) == figures(calm.parent)


def test_a_run_that_is_asked_to_stop_keeps_its_last_step(tiny: Path, tmp_path: Path) -> None:
    spec = prepare(tmp_path / "run", tiny, max_steps=100_000, checkpoint_every=10_000)
    child = start(spec)
    while len(figures(spec.parent)) < 3:
        assert child.poll() is None
        time.sleep(0.01)
    child.terminate()
    assert child.wait() == 143
    checkpoint = checkpoints.latest(spec.parent / "checkpoints")
    assert checkpoint is not None
    assert checkpoint.step == figures(spec.parent)[-1][0]


def test_full_tuning_writes_a_whole_model(tiny: Path, tmp_path: Path) -> None:
    from safetensors import safe_open

    spec = prepare(tmp_path / "run", tiny, method="full", max_steps=4, learning_rate=1e-3)
    assert start(spec).wait() == 0
    paths = (spec.parent / "merged" / "model.safetensors", tiny / "model.safetensors")
    with safe_open(paths[0], framework="np") as tuned, safe_open(paths[1], framework="np") as base:
        names = sorted(base.keys())
        assert sorted(tuned.keys()) == names
        moved = [name for name in names if (tuned.get_tensor(name) != base.get_tensor(name)).any()]
    assert len(moved) > 15
    assert (spec.parent / "merged" / "tokenizer.json").exists()


def test_the_step_log_holds_a_step_once(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"

    def line(step: int) -> StepRecord:
        return StepRecord(
            step=step, loss=1 / step, learning_rate=0, grad_norm=0, tokens=1, seconds=1, tokens_per_s=1, eta_s=0
        )

    for step in range(1, 6):
        step_log.append(path, line(step))
    step_log.truncate(path, 3)
    step_log.append(path, line(4))
    assert [r.step for r in step_log.read(path)] == [1, 2, 3, 4]
    assert [r.step for r in step_log.read(path, after=3)] == [4]
    assert step_log.read(tmp_path / "none.jsonl") == []
