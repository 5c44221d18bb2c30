"""Calls that have begun, in a file that outlives this process: after kill -9 the next server records them.

A call has a slot of the file while it runs, and an empty one after. Slots are written to memory that the file is mapped
to, so a call costs microseconds and no system call, and nothing of a call stays on the disk once it is recorded.
"""

import fcntl
import logging
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tidemill.traces.types import SpanRecord

log = logging.getLogger("tidemill.gateway")

SLOT_BYTES = 4096
SLOTS = 4096
"""Calls at once; more are not in the file."""
_HEAD = 4
"""Bytes before each record: its length, 0 in an empty slot."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(SpanRecord).decode


class CallJournal:
    """The slots of one file. Only the first process with the file has them: for any other nothing is kept."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._slots: dict[bytes, int] = {}
        """Span id -> slot."""
        self._free: list[int] = []
        self._file = -1
        self._memory: mmap.mmap | None = None

    def open(self) -> list[SpanRecord]:
        """Open the file; return the calls that an earlier process began and did not record. They keep their slots.

        Raises OSError, also when the disk has no room for it.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            return []
        try:
            # With all its space: on a full disk a write to a hole of a mapped file would end the process (SIGBUS).
            os.posix_fallocate(self._file, 0, SLOTS * SLOT_BYTES)
        except OSError:
            self.close()
            raise
        self._memory = mmap.mmap(self._file, SLOTS * SLOT_BYTES)
        records = dict(self._read(self._memory))
        self._slots = {record.span_id: slot for slot, record in records.items()}
        self._free = [slot for slot in range(SLOTS - 1, -1, -1) if slot not in records]
        return list(records.values())

    def begin(self, record: SpanRecord) -> None:
        """Note a call as far as it is known; again for the same span when more is known."""
        if self._memory is None:
            return
        data = _encode(record)
        if len(data) > SLOT_BYTES - _HEAD:
            return
        slot = self._slots.get(record.span_id)
        if slot is None:
            if not self._free:
                return
            slot = self._slots[record.span_id] = self._free.pop()
        at = slot * SLOT_BYTES
        # The length last: a slot that is half written is an empty one.
        self._memory[at : at + _HEAD] = bytes(_HEAD)
        self._memory[at + _HEAD : at + _HEAD + len(data)] = data
        self._memory[at : at + _HEAD] = len(data).to_bytes(_HEAD, "big")

    def end(self, span_id: bytes) -> None:
        """Empty the slot of a call, which is recorded now."""
        slot = self._slots.pop(span_id, None)
        if slot is not None and self._memory is not None:
            at = slot * SLOT_BYTES
            size = int.from_bytes(self._memory[at : at + _HEAD], "big")
            self._memory[at : at + _HEAD + size] = bytes(_HEAD + size)
            self._free.append(slot)

    def close(self) -> None:
        """Let go of the file. Calls that are not recorded stay in it."""
        if self._memory is not None:
            self._memory.close()
            self._memory = None
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _read(self, memory: mmap.mmap) -> Iterator[tuple[int, SpanRecord]]:
        for slot in range(SLOTS):
            at = slot * SLOT_BYTES
            size = int.from_bytes(memory[at : at + _HEAD], "big")
            if not size:
                continue
            try:
                yield slot, _decode(memory[at + _HEAD : at + _HEAD + min(size, SLOT_BYTES - _HEAD)])
            except (msgspec.DecodeError, msgspec.ValidationError) as error:
                log.warning("a call that an earlier server began cannot be read: %s", error)
                memory[at : at + SLOT_BYTES] = bytes(SLOT_BYTES)
