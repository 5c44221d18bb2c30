"""Checkpoints: everything a run needs to go on, in a folder that appears only when it is whole. No pickles."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple


class Checkpoint(NamedTuple):
    """A place to go on from."""

    step: int
    folder: Path


def latest(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint."""
    found = [Checkpoint(int(p.name.removeprefix("step-")), p) for p in folder.glob("step-*") if p.is_dir()]
    return max(found, default=None)


def save(folder: Path, name: str, tensors: Mapping[str, Mapping[str, Any]], facts: dict[str, Any]) -> Path:
    """Write the files `tensors` (file name -> tensors) and `facts` as the folder `name`, then make it visible."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for file, values in tensors.items():
        save_file({k: v.detach().contiguous().cpu() for k, v in values.items()}, part / f"{file}.safetensors")
    (part / "state.json").write_text(json.dumps(facts))
    _flush(part)
    target = folder / name
    if target.exists():  # a folder cannot replace a full one: move the old aside first
        old = folder / f".{name}.old"
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
        part.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        part.rename(target)
    return target


def _flush(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def prune(folder: Path, *, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints."""
    steps = sorted(folder.glob("step-*"), reverse=True)
    for path in steps[keep:]:
        shutil.rmtree(path, ignore_errors=True)


def facts_of(folder: Path) -> dict[str, Any]:
    """What a checkpoint says about itself."""
    found: dict[str, Any] = json.loads((folder / "state.json").read_text())
    return found


def flatten(state: dict[str, Any]) -> dict[str, Any]:
    """The tensors of an optimiser's state under flat names, such as `12.exp_avg`."""
    return {f"{index}.{key}": value for index, held in state["state"].items() for key, value in held.items()}


def unflatten(tensors: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """The way back from `flatten`."""
    found: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        found.setdefault(int(index), {})[key] = value
    return found
