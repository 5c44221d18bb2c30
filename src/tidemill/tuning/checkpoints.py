"""Checkpoints: everything a run needs to resume, in a folder that appears only when it is complete. No pickles."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tidemill.core.blobs.local import sync_folder

RNG_STATE = "rng_state"
"""The file of the random number generators' states."""
_RNG_STATE_0_1 = "chance"


class Checkpoint(NamedTuple):
    """The folder of a saved step that a run can resume from."""

    step: int
    folder: Path


def latest(folder: Path) -> Checkpoint | None:
    """Return the newest complete checkpoint in `folder`; None when there is none."""
    checkpoints = [Checkpoint(int(p.name.removeprefix("step-")), p) for p in folder.glob("step-*") if p.is_dir()]
    return max(checkpoints, default=None)


def rng_state_path(folder: Path) -> Path:
    """Return the file of the random number generators' states in a checkpoint, under its name of release 0.1 too."""
    path = folder / f"{RNG_STATE}.safetensors"
    return path if path.exists() else folder / f"{_RNG_STATE_0_1}.safetensors"


def save(folder: Path, name: str, tensors: Mapping[str, Mapping[str, Any]], state: dict[str, Any]) -> Path:
    """Write the files `tensors` (file name -> tensors) and `state` as the folder `name`, then make it visible.

    Returns the folder. One of the same name is replaced.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for file, values in tensors.items():
        save_file({k: v.detach().contiguous().cpu() for k, v in values.items()}, part / f"{file}.safetensors")
    (part / "state.json").write_text(json.dumps(state))
    _flush(part)
    target, old = folder / name, folder / f".{name}.old"
    if target.exists():  # a folder cannot replace a full one: move the old aside first
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
    part.rename(target)
    sync_folder(folder)
    shutil.rmtree(old, ignore_errors=True)
    return target


def saved(folder: Path, name: str) -> Path:
    """Return the folder `name` that `save` wrote. A replacement that a kill interrupted is brought to its end."""
    target = folder / name
    if not target.exists() and (folder / f".{name}.old").exists():
        # The old one is moved aside only when the new one is complete.
        (folder / f".{name}.part").rename(target)
    return target


def _flush(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(folder)


def prune(folder: Path, *, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints."""
    steps = sorted(folder.glob("step-*"), reverse=True)
    for path in steps[keep:]:
        shutil.rmtree(path, ignore_errors=True)


def read_state(folder: Path) -> dict[str, Any]:
    """Return the step and the best evaluation so far, as `save` wrote them beside the tensors."""
    state: dict[str, Any] = json.loads((folder / "state.json").read_text())
    return state


def flatten(state: dict[str, Any]) -> dict[str, Any]:
    """Return the tensors of an optimiser's state under flat names, such as `12.exp_avg`."""
    return {f"{index}.{key}": value for index, slots in state["state"].items() for key, value in slots.items()}


def unflatten(tensors: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """Return the optimiser's state that `flatten` made `tensors` of: parameter index -> name -> tensor."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    return state
