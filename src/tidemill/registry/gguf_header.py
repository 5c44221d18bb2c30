"""Reading what a GGUF file says about itself, and whether it holds what it promises.

Source: the format's specification, `docs/gguf.md` in ggml-org/ggml. Only the header is read; no weight is loaded.
"""

import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from tidemill.registry.types import CorruptModelFile

MAGIC = b"GGUF"
_MAX_NAME = 2**16
_MAX_STRING = 2**26
_MAX_DIMENSIONS = 4
_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

TENSOR_TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}
"""Number of a tensor type -> its name, elements in a block, bytes of a block."""

FILE_TYPES: dict[int, str] = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4_MOE",
    39: "NVFP4",
    40: "Q1_0",
}
"""`general.file_type` -> the name that people use for the quantisation."""


@dataclass(frozen=True)
class Length:
    """Stands for an array in the metadata, of which only the length is kept."""

    count: int


@dataclass(frozen=True)
class Tensor:
    """One tensor: its place is counted from the start of the tensor data."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    bytes: int

    @property
    def elements(self) -> int:
        """Number of weights."""
        return prod(self.shape)


@dataclass(frozen=True)
class GgufHeader:
    """Metadata and tensors of a GGUF file."""

    version: int
    metadata: dict[str, Any]
    tensors: list[Tensor]
    data_start: int

    def text(self, key: str) -> str | None:
        """A metadata value that is a string."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    def integer(self, key: str) -> int | None:
        """A metadata value that is a whole number."""
        value = self.metadata.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def count(self, key: str) -> int | None:
        """The length of a metadata array."""
        value = self.metadata.get(key)
        return value.count if isinstance(value, Length) else None


def read_header(path: Path, label: str | None = None) -> GgufHeader:
    """The header of the GGUF file at `path`, checked against the file's size.

    `label` names the file in errors. Raises CorruptModelFile.
    """
    label = label or path.name
    size = path.stat().st_size
    if size < 24:
        raise _corrupt(label, f"it has {size} bytes, less than a GGUF header")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _Reader(data, size, label).header()


def _corrupt(label: str, what: str) -> CorruptModelFile:
    return CorruptModelFile(
        f"{label} is not a whole GGUF file: {what}.",
        hint="Download or export the file again and compare its size and hash with the source.",
        param="files",
    )


class _Reader:
    """Walks through the header and never reads past the end of the file."""

    def __init__(self, data: mmap.mmap, size: int, label: str) -> None:
        self.data = data
        self.size = size
        self.label = label
        self.at = 0
        self.order = "<"

    def header(self) -> GgufHeader:
        if self.data[:4] != MAGIC:
            raise self.error(f"it starts with {bytes(self.data[:4])!r}, not with b'GGUF'")
        self.at = 4
        version = self.scalar("I")
        if version & 0xFFFF == 0:  # written on a big-endian machine
            self.order, self.at = ">", 4
            version = self.scalar("I")
        if version not in (2, 3):
            raise self.error(f"its format version is {version}, known are 2 and 3")
        tensor_count, pair_count = self.scalar("Q"), self.scalar("Q")
        # A tensor takes 24 bytes at least and a pair 13: more than that cannot be in the file.
        if tensor_count > self.size // 24 or pair_count > self.size // 13:
            raise self.error(f"it promises {tensor_count} tensors and {pair_count} metadata entries")
        metadata = dict(self.pair() for _ in range(pair_count))
        tensors = [self.tensor() for _ in range(tensor_count)]
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise self.error(f"its alignment is {alignment!r}, not a power of two")
        start = -(-self.at // alignment) * alignment
        self.check(tensors, start, alignment)
        return GgufHeader(version=version, metadata=metadata, tensors=tensors, data_start=start)

    def check(self, tensors: list[Tensor], start: int, alignment: int) -> None:
        names = set()
        for tensor in tensors:
            if tensor.name in names:
                raise self.error(f"tensor {tensor.name!r} is there twice")
            names.add(tensor.name)
            if tensor.offset % alignment:
                raise self.error(f"tensor {tensor.name!r} is not aligned to {alignment} bytes")
            end = start + tensor.offset + tensor.bytes
            if end > self.size:
                raise self.error(f"tensor {tensor.name!r} ends at byte {end}, but the file has {self.size} bytes")

    def pair(self) -> tuple[str, Any]:
        key = self.string(_MAX_NAME)
        return key, self.value(self.scalar("I"))

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string(_MAX_STRING)
        if kind == _ARRAY:
            return self.array()
        return self.scalar(self.letter(kind))

    def array(self) -> Length:
        kind, count = self.scalar("I"), self.scalar("Q")
        if kind == _STRING:
            self.each(count, 8, lambda: self.skip(self.scalar("Q")))
        elif kind == _ARRAY:
            self.each(count, 12, self.array)
        else:
            self.skip(count * struct.calcsize(self.letter(kind)))
        return Length(count)

    def each(self, count: int, least: int, step: Callable[[], object]) -> None:
        if count * least > self.size - self.at:
            raise self.error(f"an array of {count} entries at byte {self.at} goes past the end")
        for _ in range(count):
            step()

    def tensor(self) -> Tensor:
        name = self.string(_MAX_NAME)
        dimensions = self.scalar("I")
        if dimensions > _MAX_DIMENSIONS:
            raise self.error(f"tensor {name!r} has {dimensions} dimensions")
        shape = tuple(self.scalar("Q") for _ in range(dimensions))
        number, offset = self.scalar("I"), self.scalar("Q")
        if number not in TENSOR_TYPES:
            raise self.error(f"tensor {name!r} has the unknown type {number}")
        kind, block, block_bytes = TENSOR_TYPES[number]
        if shape and shape[0] % block:
            raise self.error(f"tensor {name!r} has rows of {shape[0]}, not a multiple of {kind}'s block of {block}")
        size = prod(shape) // block * block_bytes
        return Tensor(name=name, shape=shape, type=kind, offset=offset, bytes=size)

    def letter(self, kind: int) -> str:
        if kind not in _SCALARS:
            raise self.error(f"metadata at byte {self.at} has the unknown type {kind}")
        return _SCALARS[kind]

    def scalar(self, letter: str) -> Any:
        start = self.at
        self.skip(struct.calcsize(letter))
        return struct.unpack_from(self.order + letter, self.data, start)[0]

    def string(self, limit: int) -> str:
        length = self.scalar("Q")
        if length > limit:
            raise self.error(f"a string of {length} bytes at byte {self.at}")
        start = self.at
        self.skip(length)
        try:
            return self.data[start : self.at].decode("utf-8")
        except UnicodeDecodeError:
            raise self.error(f"the string at byte {start} is not UTF-8") from None

    def skip(self, count: int) -> None:
        if count > self.size - self.at:
            raise self.error(f"it ends at byte {self.size}, within its header")
        self.at += count

    def error(self, what: str) -> CorruptModelFile:
        return _corrupt(self.label, what)
