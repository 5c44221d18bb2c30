"""The books of a run: `progress.jsonl`, one line an optimiser step, each step entered once."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from tidemill.tuning.compress.files import replacing
from tidemill.tuning.types import StepRecord


def read(path: Path, *, after: int = 0) -> list[StepRecord]:
    """The whole lines of the books after step `after`. A line that a kill cut off is not one."""
    return [record for record in _lines(path) if record.step > after] if path.exists() else []


def _lines(path: Path) -> Iterator[StepRecord]:
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                yield StepRecord.model_validate_json(line)
            except ValidationError:
                return  # a torn block after a power cut: nothing behind it can be trusted


def cut(path: Path, step: int) -> None:
    """Take out what was entered after `step`, because the run goes on from there and will enter it again."""
    kept = [record for record in read(path) if record.step <= step]
    with replacing(path) as file:
        for record in kept:
            file.write(_line(record))


def enter(path: Path, record: StepRecord) -> None:
    """Add a line in one write."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, _line(record))
    finally:
        os.close(handle)


def _line(record: StepRecord) -> bytes:
    return json.dumps(record.model_dump(mode="json"), separators=(",", ":")).encode() + b"\n"
