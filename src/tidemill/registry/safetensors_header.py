"""Reading what a safetensors file says about itself, and whether it holds what it promises.

Source: the format's description, github.com/huggingface/safetensors#format. No weight is loaded.
"""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from tidemill.core.parsing import parse_json
from tidemill.registry.types import CorruptModelFile

MAX_HEADER = 100_000_000
"""The reference implementation refuses larger headers too."""

DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


@dataclass(frozen=True)
class SafetensorsTensor:
    """One tensor; `begin` and `end` count from the end of the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def elements(self) -> int:
        """Return the number of weights: the product of the dimensions."""
        return prod(self.shape)


@dataclass(frozen=True)
class SafetensorsHeader:
    """Metadata and tensors of a safetensors file."""

    metadata: dict[str, str]
    tensors: list[SafetensorsTensor]


def read_header(path: Path, label: str | None = None) -> SafetensorsHeader:
    """Return the header of the file at `path`, checked against the file's size. Raises CorruptModelFile."""
    label = label or path.name
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise _corrupt(label, f"it has {size} bytes, less than its own header")
        length = int.from_bytes(start, "little")
        if length > MAX_HEADER or length > size - 8:
            raise _corrupt(label, f"its header would be {length} bytes, but the file has {size}")
        raw = file.read(length)
    header = _object(raw, label)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise _corrupt(label, "its metadata is not an object")
    tensors = sorted((_tensor(n, v, label) for n, v in header.items()), key=lambda t: (t.begin, t.end))
    _check_places(tensors, size - 8 - length, label)
    return SafetensorsHeader(metadata={str(k): str(v) for k, v in metadata.items()}, tensors=tensors)


def _corrupt(label: str, what: str) -> CorruptModelFile:
    return CorruptModelFile(
        f"{label} is not a whole safetensors file: {what}.",
        hint="Download or export the file again and compare its size and hash with the source.",
        param="files",
    )


def _object(raw: bytes, label: str) -> dict[str, Any]:
    try:
        header = parse_json(raw)
    except ValueError:
        raise _corrupt(label, "its header is not JSON") from None
    if not isinstance(header, dict):
        raise _corrupt(label, "its header is not a JSON object")
    return header


def _tensor(name: str, entry: Any, label: str) -> SafetensorsTensor:
    if not isinstance(entry, dict):
        raise _corrupt(label, f"tensor {name!r} is not described by an object")
    dtype = entry.get("dtype")
    if dtype not in DTYPE_BITS:
        raise _corrupt(label, f"tensor {name!r} has the unknown type {dtype!r}")
    shape, place = _counts(entry.get("shape")), _counts(entry.get("data_offsets"))
    if shape is None or place is None or len(place) != 2:
        raise _corrupt(label, f"tensor {name!r} has no proper shape or place")
    begin, end = place
    if end - begin != -(-prod(shape) * DTYPE_BITS[dtype] // 8):
        raise _corrupt(label, f"tensor {name!r} has {end - begin} bytes, which do not fit its shape {shape}")
    return SafetensorsTensor(name=name, dtype=dtype, shape=tuple(shape), begin=begin, end=end)


def _counts(value: Any) -> list[int] | None:
    """Return a list of whole numbers from 0 up; None for anything else."""
    if isinstance(value, list) and all(type(n) is int and n >= 0 for n in value):
        return value
    return None


def _check_places(tensors: list[SafetensorsTensor], room: int, label: str) -> None:
    """Tensors must fill the file without holes, overlaps or anything after them."""
    at = 0
    for tensor in tensors:
        if tensor.begin != at:
            raise _corrupt(label, f"tensor {tensor.name!r} starts at byte {tensor.begin} of the data, not at {at}")
        at = tensor.end
    if at != room:
        raise _corrupt(label, f"its tensors take {at} bytes, but {room} bytes follow the header")
