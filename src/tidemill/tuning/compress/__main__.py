"""Make model files: `python -m tidemill.tuning.compress <folder>/spec.json`. A task that is done is not done again."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from tidemill.core.wire import Body
from tidemill.tuning.compress.convert import convert
from tidemill.tuning.compress.dequantise import dequantise
from tidemill.tuning.compress.files import read_json, write_json
from tidemill.tuning.compress.merge import merge
from tidemill.tuning.compress.quantise import quantise
from tidemill.tuning.types import Quantisation


class Dequantise(Body):
    """GGUF file -> safetensors folder."""

    do: Literal["dequantise"] = "dequantise"
    source: str
    target: str


class Merge(Body):
    """Base folder + adapter folder -> safetensors folder."""

    do: Literal["merge"] = "merge"
    base: str
    adapter: str
    target: str


class Convert(Body):
    """Safetensors folder -> F16 GGUF file."""

    do: Literal["convert"] = "convert"
    source: str
    target: str
    name: str
    run: str | None = None


class Quantise(Body):
    """F16 GGUF file -> smaller GGUF file."""

    do: Literal["quantise"] = "quantise"
    source: str
    target: str
    to: Quantisation


Task = Annotated[Dequantise | Merge | Convert | Quantise, Field(discriminator="do")]


class CompressSpec(Body):
    """What the process reads. Paths are the server's own."""

    tasks: list[Task]


def perform(task: Task) -> None:
    """Carry out one task of the spec: dequantise, merge, convert or quantise."""
    if isinstance(task, Dequantise):
        dequantise(Path(task.source), Path(task.target))
    elif isinstance(task, Merge):
        merge(Path(task.base), Path(task.adapter), Path(task.target))
    elif isinstance(task, Convert):
        convert(Path(task.source), Path(task.target), name=task.name, run=task.run)
    else:
        quantise(Path(task.source), Path(task.target), task.to)


def main(path: Path) -> None:
    """Do the tasks of the spec at `path` in order."""
    spec = CompressSpec.model_validate(read_json(path))
    done_file = path.with_suffix(".done.json")
    done: list[str] = read_json(done_file) if done_file.exists() else []
    for task in spec.tasks:
        if task.target in done and Path(task.target).exists():
            continue
        sys.stdout.write(f"{task.do} -> {Path(task.target).name}\n")
        sys.stdout.flush()
        perform(task)
        done.append(task.target)
        write_json(done_file, done)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
