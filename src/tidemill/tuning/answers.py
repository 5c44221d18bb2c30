"""Greedy answers of a model in safetensors form: `python -m tidemill.tuning.answers <folder>/spec.json`.

The parity proof asks it for the adapter and the merged model; the trainer calls `write` for its own answers.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from pydantic import Field

from tidemill.core.wire import Body, Value
from tidemill.tuning import examples
from tidemill.tuning import model as training_model
from tidemill.tuning.chat_template import ChatEncoder
from tidemill.tuning.compress.files import read_json, replacing
from tidemill.tuning.model import Device


class Subject(Body):
    """A model to ask, with its adapter if it has one, and the file for its answers."""

    folder: str
    adapter: str | None = None
    out: str = Field(description="File for the answers.")


class RecordedAnswer(Value):
    """A line of an answer file: the prompt as token ids, and the greedy answer."""

    id: str
    prompt_ids: list[int]
    answer: str


class AnswerSpec(Body):
    """The spec file of the process: prompts, models, device and threads."""

    proof: str = Field(description="JSON lines: id, messages, start.")
    subjects: list[Subject]
    max_tokens: int
    device: dict[str, Any]
    threads: int


def write(path: Path, model: Any, encoder: ChatEncoder, proof: Path, device: Device, *, max_tokens: int) -> None:
    """Ask `model` every prompt in `proof`; write JSON lines of id, prompt_ids and answer to `path`."""
    rows = examples.read(proof)
    prompts = [encoder.prompt_ids(row.messages[:-1]) for row in rows]
    stop = set(encoder.ids(encoder.eos))
    answers = training_model.greedy(model, prompts, device, max_tokens=max_tokens, stop=stop)
    with replacing(path) as file:
        for row, prompt, answer in zip(rows, prompts, answers, strict=True):
            recorded = RecordedAnswer(id=row.id, prompt_ids=prompt, answer=encoder.text(answer))
            file.write(json.dumps(recorded.model_dump(), ensure_ascii=False).encode() + b"\n")


def read(path: Path) -> list[RecordedAnswer]:
    """Return the answers in a file that `write` wrote."""
    return [RecordedAnswer.model_validate_json(line) for line in path.read_bytes().splitlines()]


def main(path: Path) -> None:
    """Ask every subject that has not answered yet."""
    import torch

    spec = AnswerSpec.model_validate(read_json(path))
    torch.set_num_threads(spec.threads)
    device = Device(**spec.device)
    for subject in spec.subjects:
        if Path(subject.out).exists():
            continue
        model = training_model.load(Path(subject.folder), device)
        if subject.adapter is not None:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, subject.adapter)
        encoder = ChatEncoder(Path(subject.folder))
        write(Path(subject.out), model, encoder, Path(spec.proof), device, max_tokens=spec.max_tokens)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", str(read_json(Path(sys.argv[1]))["threads"]))
    main(Path(sys.argv[1]))
