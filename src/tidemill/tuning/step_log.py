"""The step log of a run: `progress.jsonl`, one line an optimiser step, each step once."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from tidemill.tuning.compress.files import replacing
from tidemill.tuning.types import StepRecord


def read(path: Path, *, after: int = 0) -> list[StepRecord]:
    """Return the records after step `after`; none when there is no file. A line that a kill cut off is left out."""
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


def truncate(path: Path, step: int) -> None:
    """Remove the records after `step`, from which the run resumes: it will append them again."""
    records = [record for record in read(path) if record.step <= step]
    with replacing(path) as file:
        for record in records:
            file.write(_line(record))


def append(path: Path, record: StepRecord) -> None:
    """Append a record as one line in one write, so that a kill cannot leave two half ones."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, _line(record))
    finally:
        os.close(handle)


def _line(record: StepRecord) -> bytes:
    return json.dumps(record.model_dump(mode="json"), separators=(",", ":")).encode() + b"\n"
