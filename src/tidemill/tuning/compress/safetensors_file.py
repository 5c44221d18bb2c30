"""Writing safetensors one tensor at a time, so that a model larger than memory can be written.

The format: https://github.com/huggingface/safetensors (8 bytes of header length, a JSON header, the raw bytes).
"""

import json
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tidemill.tuning.compress.files import replacing

_NAMES = {"float32": "F32", "float16": "F16"}


class Slot(NamedTuple):
    """One tensor to come: its name, its shape and whether it is `float16` or `float32`."""

    name: str
    shape: tuple[int, ...]
    dtype: str


def write(path: Path, slots: Sequence[Slot], produce: Callable[[str], NDArray[Any]]) -> None:
    """Write `slots` to `path`, asking `produce` for each tensor in turn. The file appears only when it is whole."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for slot in slots:
        size = int(np.prod(slot.shape)) * np.dtype(slot.dtype).itemsize
        header[slot.name] = {
            "dtype": _NAMES[slot.dtype],
            "shape": list(slot.shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for slot in slots:
            tensor = produce(slot.name)
            if tensor.shape != slot.shape:
                raise ValueError(f"{slot.name} has the shape {tensor.shape}, not {slot.shape}")
            file.write(np.ascontiguousarray(tensor, dtype=slot.dtype).tobytes())


def kept_dtype(shape: Sequence[int]) -> str:
    """Matrices are kept as float16, as in an F16 GGUF file; vectors (the norms) as float32."""
    return "float16" if len(shape) > 1 else "float32"
