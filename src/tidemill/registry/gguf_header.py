"""Reading what a GGUF file says about itself, and whether it holds what it promises.

Source: the format's specification, `docs/gguf.md` in ggml-org/ggml. Only the header is read; no weight is loaded.
"""

import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

from tidemill.registry.types import CorruptModelFile

MAGIC = b"GGUF"
_MAX_NAME = 2**16
_MAX_STRING = 2**26
_MAX_DIMENSIONS = 4
_MAX_DEPTH = 16
"""Arrays in arrays: nobody writes more than two levels, and each takes a call."""
_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


@cache
def tensor_types() -> dict[int, tuple[str, int, int]]:
    """Return the number of each tensor type -> its name, elements in a block, bytes of a block."""
    # The format's own library takes numpy along, which most commands and a server without a GGUF file never need.
    from gguf import GGML_QUANT_SIZES

    return {int(kind): (kind.name, block, size) for kind, (block, size) in GGML_QUANT_SIZES.items()}


@cache
def file_types() -> dict[int, str]:
    """Return each number of `general.file_type` -> the name that people use for the quantisation."""
    from gguf import LlamaFileType

    names = {int(kind): kind.name.removeprefix("MOSTLY_").removeprefix("ALL_") for kind in LlamaFileType}
    return {number: name for number, name in names.items() if name != "GUESSED"}


@dataclass(frozen=True)
class ArrayLength:
    """Stands for an array in the metadata, of which only the length is kept."""

    count: int


@dataclass(frozen=True)
class GgufTensor:
    """One tensor: its place is counted from the start of the tensor data."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    bytes: int

    @property
    def elements(self) -> int:
        """Return the number of weights: the product of the dimensions."""
        return prod(self.shape)


@dataclass(frozen=True)
class GgufHeader:
    """Metadata and tensors of a GGUF file."""

    version: int
    metadata: dict[str, Any]
    tensors: list[GgufTensor]
    data_start: int

    def text(self, key: str) -> str | None:
        """Return a metadata value that is a string."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    def integer(self, key: str) -> int | None:
        """Return a metadata value that is a whole number."""
        value = self.metadata.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def count(self, key: str) -> int | None:
        """Return the length of a metadata array."""
        value = self.metadata.get(key)
        return value.count if isinstance(value, ArrayLength) else None


def read_header(path: Path, label: str | None = None) -> GgufHeader:
    """Return the header of the GGUF file at `path`, checked against the file's size.

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

    def check(self, tensors: list[GgufTensor], start: int, alignment: int) -> None:
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

    def array(self, depth: int = 1) -> ArrayLength:
        if depth > _MAX_DEPTH:
            raise self.error(f"arrays within arrays at byte {self.at}, more than {_MAX_DEPTH} deep")
        kind, count = self.scalar("I"), self.scalar("Q")
        if kind == _STRING:
            self.each(count, 8, lambda: self.skip(self.scalar("Q")))
        elif kind == _ARRAY:
            self.each(count, 12, lambda: self.array(depth + 1))
        else:
            self.skip(count * struct.calcsize(self.letter(kind)))
        return ArrayLength(count)

    def each(self, count: int, least: int, step: Callable[[], object]) -> None:
        if count * least > self.size - self.at:
            raise self.error(f"an array of {count} entries at byte {self.at} goes past the end")
        for _ in range(count):
            step()

    def tensor(self) -> GgufTensor:
        name = self.string(_MAX_NAME)
        dimensions = self.scalar("I")
        if dimensions > _MAX_DIMENSIONS:
            raise self.error(f"tensor {name!r} has {dimensions} dimensions")
        shape = tuple(self.scalar("Q") for _ in range(dimensions))
        number, offset = self.scalar("I"), self.scalar("Q")
        if number not in tensor_types():
            raise self.error(f"tensor {name!r} has the unknown type {number}")
        kind, block, block_bytes = tensor_types()[number]
        if shape and shape[0] % block:
            raise self.error(f"tensor {name!r} has rows of {shape[0]}, not a multiple of {kind}'s block of {block}")
        size = prod(shape) // block * block_bytes
        return GgufTensor(name=name, shape=shape, type=kind, offset=offset, bytes=size)

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
