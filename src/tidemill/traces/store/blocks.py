"""The payload of many spans as one compressed block: three times smaller than one by one."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import zstandard

from tidemill.traces.types import SpanPayload

SPANS = 64
"""At most so many spans share a block: reading one span unpacks its block."""
BYTES = 1 << 20
"""A block is closed when its content reaches this."""

_LEVEL = 1
"""Level 3 saves 20 bytes of a span and takes 0.8 µs more for each."""
_KNOWN = (datetime, bytes)
"""Types beyond JSON's that MessagePack knows."""
_encoder = msgspec.msgpack.Encoder(enc_hook=str)
_payload = msgspec.msgpack.Decoder(SpanPayload)
_slots = msgspec.msgpack.Decoder(list[msgspec.Raw])


def pack_payload(payload: SpanPayload) -> bytes:
    """Return one payload as bytes. What MessagePack does not know is stored as text, numbers beyond 64 bits too."""
    try:
        return _encoder.encode(payload)
    except OverflowError:
        return _encoder.encode(_storable(msgspec.to_builtins(payload, builtin_types=_KNOWN, enc_hook=str)))


def _storable(value: Any) -> Any:
    if isinstance(value, dict):
        return {_storable(name): _storable(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_storable(one) for one in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return value


def compress_block(parts: Sequence[bytes], compressor: zstandard.ZstdCompressor) -> bytes:
    """Return packed payloads as one compressed block."""
    return compressor.compress(_encoder.encode([msgspec.Raw(part) for part in parts]))


def compressor() -> zstandard.ZstdCompressor:
    """Return a compressor for the use of one thread."""
    return zstandard.ZstdCompressor(level=_LEVEL)


class Block:
    """A block that was decompressed."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._slots = _slots.decode(zstandard.ZstdDecompressor().decompress(data))

    def payload(self, slot: int) -> SpanPayload:
        """Return the payload in one slot."""
        return _payload.decode(self._slots[slot])
