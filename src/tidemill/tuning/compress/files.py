"""Files that appear only when they are whole."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file that takes `path`'s place when the block ends well, and leaves nothing when it does not."""
    part = path.with_name(f".{path.name}.{os.urandom(4).hex()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON, whole or not at all."""
    with replacing(path) as file:
        file.write(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True).encode() + b"\n")


def read_json(path: Path) -> Any:
    """Return the parsed JSON of the file at `path`."""
    return json.loads(path.read_text(encoding="utf-8"))
