"""Text files as lines, in constant memory, with the place of every fault."""

import codecs
import gzip
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from tidemill.data.types import EncodingWrong, FileEncodingUnknown, FileMissing, RecordTooLong, SourceUnreadable

BLOCK_BYTES = 1 << 20
MAX_RECORD_CHARS = 16 << 20
"""No record is longer than this. A file without line ends is refused after reading this much of it."""

_CANDIDATES = ("utf-8", "utf-16", "cp1252", "latin-1", "shift_jis", "gb18030")
_BOMS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@contextmanager
def open_source(path: Path, name: str) -> Iterator[BinaryIO]:
    """The bytes of a file, decompressed when it is gzip. `name` is what errors call it."""
    with ExitStack() as opened:
        try:
            file: BinaryIO = opened.enter_context(path.open("rb"))
            magic = file.read(2)
            file.seek(0)
        except FileNotFoundError as error:
            raise FileMissing(f"There is no file {name}.", hint="Check the path.", param="path") from error
        except OSError as error:
            raise SourceUnreadable(
                f"{name} cannot be read: {error.strerror or error}.",
                hint="Check that it is a file and that you may read it.",
                param="path",
            ) from error
        if magic == b"\x1f\x8b":
            file = cast(BinaryIO, opened.enter_context(gzip.GzipFile(fileobj=file, mode="rb")))
        yield file


def text_blocks(file: BinaryIO, name: str, encoding: str = "utf-8") -> Iterator[str]:
    """Yield the file as decoded blocks.

    Raises EncodingWrong with the byte offset and line of the first byte that is not text in `encoding`.
    """
    try:
        decoder = codecs.getincrementaldecoder(encoding)("strict")
    except LookupError as error:
        raise FileEncodingUnknown(
            f"There is no encoding {encoding!r}.", hint="Try utf-8, cp1252 or utf-16.", param="encoding"
        ) from error
    offset, line, first = 0, 1, True
    while True:
        chunk = _read(file, name)
        pending = len(decoder.getstate()[0])
        if first and codecs.lookup(encoding).name == "utf-8":
            dropped = len(codecs.BOM_UTF8) if chunk.startswith(codecs.BOM_UTF8) else 0
            chunk, offset = chunk[dropped:], dropped
        first = False
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            raise _encoding_error(name, encoding, error, offset - pending, line) from error
        if text:
            yield text
        if not chunk:
            return
        offset += len(chunk)
        line += text.count("\n")


def _read(file: BinaryIO, name: str) -> bytes:
    try:
        return file.read(BLOCK_BYTES)
    except (OSError, EOFError) as error:  # gzip.BadGzipFile is an OSError; a cut-off one ends in EOFError
        raise SourceUnreadable(f"{name} cannot be read: {error}.", hint="Is the file whole?", param="path") from error


def _encoding_error(name: str, encoding: str, error: UnicodeDecodeError, base: int, line: int) -> EncodingWrong:
    data = bytes(error.object)
    at = error.start
    line += data[:at].count(b"\n")
    begin = data.rfind(b"\n", 0, at) + 1
    end = data.find(b"\n", at)
    context = data[max(begin, at - 40) : at + 40 if end < 0 else min(end, at + 40)]
    readings = _readings(data if base == 0 else context, context, skip=encoding)
    tries = ", ".join(f"`--encoding {encoding_}` reads it as {text!r}" for encoding_, text in readings)
    return EncodingWrong(
        f"{name} is not {encoding}: byte 0x{data[at]:02x} at offset {base + at} (line {line}).",
        hint=f"Try another encoding: {tries}." if tries else "Is it a text file?",
        param="encoding",
        details={"offset": base + at, "line": line, "encodings": [encoding_ for encoding_, _ in readings]},
    )


def _readings(data: bytes, context: bytes, skip: str) -> list[tuple[str, str]]:
    for bom, encoding in _BOMS.items():
        if data.startswith(bom):
            return [(encoding, data[: 40 + len(data) % 2].decode(encoding, "ignore")[:20])]
    readings = []
    for candidate in _CANDIDATES:
        if codecs.lookup(candidate).name == codecs.lookup(skip).name or candidate == "utf-16":
            continue
        try:
            text = context.decode(candidate)
        except UnicodeDecodeError:
            continue
        if all(char.isprintable() or char.isspace() for char in text):
            readings.append((candidate, text.strip()))
    return readings[:3]


def line_blocks(file: BinaryIO, name: str, encoding: str = "utf-8") -> Iterator[list[str]]:
    """Yield lists of complete lines, each with its line end. Holds one block and one unfinished line at most."""
    parts: list[str] = []
    pending_chars = 0
    line = 1
    for block in text_blocks(file, name, encoding):
        end = block.rfind("\n") + 1
        if end:
            lines = ("".join(parts) + block[:end]).split("\n")
            lines.pop()
            _check_lengths(lines, name, line)
            yield [text + "\n" for text in lines]
            line += len(lines)
            parts, pending_chars = [], 0
        if end < len(block):
            parts.append(block[end:])
            pending_chars += len(block) - end
        if pending_chars > MAX_RECORD_CHARS:
            raise too_long(name, line)
    if parts:
        yield ["".join(parts)]


def _check_lengths(lines: list[str], name: str, first: int) -> None:
    # Only the first line of a block can span blocks, but a tall block is cheap to check whole.
    if len(lines[0]) > MAX_RECORD_CHARS:
        raise too_long(name, first)


def too_long(name: str, line: int) -> RecordTooLong:
    """Return the error for a record over MAX_RECORD_CHARS."""
    return RecordTooLong(
        f"Line {line} of {name} is longer than {MAX_RECORD_CHARS // 2**20} MiB.",
        hint="Is it the right format, with one record per line? In CSV, look for a quote that is never closed.",
        details={"line": line, "limit": MAX_RECORD_CHARS},
    )
