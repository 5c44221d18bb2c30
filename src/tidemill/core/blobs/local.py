"""Blobs in a local folder: `<root>/<two hex digits>/<hex>`, read-only files that appear whole or never."""

import errno
import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tidemill.core.blobs.types import (
    CHUNK,
    Blob,
    BlobCorrupt,
    BlobFileUnreadable,
    BlobTooLarge,
    Explain,
    StoredBlob,
    explain_nothing,
    hex_digest,
    missing,
)
from tidemill.core.errors import StorageFull, Unavailable

STALE_SECONDS = 24 * 3600.0
"""A temporary file older than this belongs to a process that died."""

HEX_LENGTH, PREFIX_LENGTH = 64, 2
"""Characters of a blob's file name, and of the folder it lies in."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def storage_errors(root: Path) -> Iterator[None]:
    """Turn "no space left" and its relatives into StorageFull, other write failures into Unavailable."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(
                f"No room to write a blob below {root}: {error.strerror}.",
                hint="Free some disk space there and try again; nothing was half-written.",
            ) from error
        raise Unavailable(
            f"Cannot write a blob below {root}: {error.strerror or error}.",
            hint="Check the folder's permissions.",
        ) from error


def sync_folder(folder: Path) -> None:
    """Make a new name in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class LocalWriter:
    """One blob on its way into a `LocalBlobs`."""

    def __init__(self, store: "LocalBlobs", limit: int | None) -> None:
        self.store = store
        self.limit = limit
        self.size = 0
        self._hash = hashlib.sha256()
        with storage_errors(store.root):
            # In the same file system as the blobs, so that the final name is one atomic step.
            store.incoming.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix="put-", dir=store.incoming)
        self._file = os.fdopen(handle, "wb", buffering=0)
        self._temp = Path(name)

    def write(self, chunk: bytes) -> None:
        """Add bytes. Raises BlobTooLarge over the limit and StorageFull when the disk is full."""
        if self.limit is not None and self.size + len(chunk) > self.limit:
            raise BlobTooLarge(
                f"The content is larger than {self.limit} bytes.",
                hint="Send less, or raise TIDEMILL_MAX_BLOB_BYTES.",
            )
        self._hash.update(chunk)
        rest = memoryview(chunk)
        with storage_errors(self.store.root):
            while rest:  # a raw write may take only a part, for instance just before the disk is full
                rest = rest[self._file.write(rest) :]
        self.size += len(chunk)

    def finish(self) -> Blob:
        """Make the bytes durable and visible under their hash."""
        hex_name = self._hash.hexdigest()
        with storage_errors(self.store.root):
            os.fsync(self._file.fileno())
            os.fchmod(self._file.fileno(), 0o444)
            self._file.close()
            self._publish(self.store.place(hex_name))
        return Blob(hash=f"sha256:{hex_name}", size=self.size)

    def _publish(self, final: Path) -> None:
        if not final.parent.is_dir():
            final.parent.mkdir(parents=True, exist_ok=True)
            sync_folder(self.store.root)
        with self.store.locked(fcntl.LOCK_SH):  # what is there must not be collected before it counts as put now
            try:
                os.link(self._temp, final)  # fails if it exists, unlike a rename: the first of two writers wins
            except FileExistsError:
                if final.stat().st_size != self.size:  # damaged by someone else: heal it
                    os.replace(self._temp, final)
                os.utime(final)
        sync_folder(final.parent)
        self._temp.unlink(missing_ok=True)

    def __enter__(self) -> "LocalWriter":
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()
        self._temp.unlink(missing_ok=True)


class LocalBlobs:
    """A store in a folder of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.incoming = root / "incoming"
        self.explain: Explain = explain_nothing

    def place(self, hex_name: str) -> Path:
        """Return the path of a blob, whether it exists or not."""
        return self.root / hex_name[:2] / hex_name

    def writer(self, limit: int | None = None) -> LocalWriter:
        """Begin a blob whose bytes come piece by piece; `limit` is its largest size in bytes."""
        return LocalWriter(self, limit)

    def put_bytes(self, content: bytes) -> Blob:
        """Store `content` under its hash; return what was stored."""
        return self.put_stream([content])

    def put_file(self, path: Path, limit: int | None = None) -> Blob:
        """Store the content of a file."""
        with _readable(path) as source:
            return self.put_stream(_chunks(source), limit)

    def put_stream(self, chunks: Iterable[bytes], limit: int | None = None) -> Blob:
        """Store what `chunks` yields; nothing is kept when it fails or grows over `limit` bytes."""
        with self.writer(limit) as writer:
            for chunk in chunks:
                writer.write(chunk)
            return writer.finish()

    def open(self, digest: str) -> BinaryIO:
        """Return the content as a readable file. Raises BlobMissing."""
        return self.path(digest).open("rb")

    def path(self, digest: str) -> Path:
        """Return the read-only file with the content. Raises BlobMissing."""
        place = self.place(hex_digest(digest))
        if not place.is_file():
            raise missing(digest, self.explain)
        return place

    def find(self, digest: str) -> Blob | None:
        """Return the blob of this hash, or None."""
        with suppress(FileNotFoundError):
            return Blob(hash=digest, size=self.place(hex_digest(digest)).stat().st_size)
        return None

    def exists(self, digest: str) -> bool:
        """Return whether the store has the blob."""
        return self.find(digest) is not None

    def stat(self, digest: str) -> StoredBlob | None:
        """Return the blob with the time when it was last put or claimed, or None."""
        with suppress(FileNotFoundError):
            facts = self.place(hex_digest(digest)).stat()
            return StoredBlob(digest, facts.st_size, facts.st_mtime)
        return None

    def claim(self, digest: str) -> Blob | None:
        """Return the blob, or None, and protect it as if it were put now: the caller is about to refer to it."""
        place = self.place(hex_digest(digest))
        with suppress(FileNotFoundError), self.locked(fcntl.LOCK_SH):
            os.utime(place)
            return Blob(hash=digest, size=place.stat().st_size)
        return None

    def list(self) -> Iterator[StoredBlob]:
        """Yield every blob, in no order."""
        for folder in _folders(self.root):
            for entry in os.scandir(folder):
                if len(entry.name) == HEX_LENGTH:
                    with suppress(FileNotFoundError):
                        facts = entry.stat()
                        yield StoredBlob(f"sha256:{entry.name}", facts.st_size, facts.st_mtime)

    def collect(self, digest: str, put_before: float) -> bool:
        """Remove a blob that nothing refers to, unless it was put or claimed at `put_before` (Unix time) or later.

        Return False when it stays, or there was none.
        """
        place = self.place(hex_digest(digest))
        with suppress(FileNotFoundError), self.locked(fcntl.LOCK_EX):
            if place.stat().st_mtime >= put_before:
                return False
            place.unlink()
            sync_folder(place.parent)
            return True
        return False

    @contextmanager
    def locked(self, mode: int) -> Iterator[None]:
        """Hold the lock between who puts blobs (shared) and who collects them (alone), also in other processes."""
        with storage_errors(self.root):
            self.incoming.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.incoming, os.O_RDONLY)
        try:
            fcntl.flock(handle, mode)
            yield
        finally:
            os.close(handle)

    def verify(self, digest: str) -> Blob:
        """Read the whole content again and compare. Raises BlobCorrupt or BlobMissing."""
        size, digester = 0, hashlib.sha256()
        with self.open(digest) as file:
            for chunk in _chunks(file):
                digester.update(chunk)
                size += len(chunk)
        if f"sha256:{digester.hexdigest()}" != digest:
            raise BlobCorrupt(
                f"The blob {digest} now hashes to sha256:{digester.hexdigest()}: the file was damaged.",
                hint="Delete it and upload the content again, or restore it from a backup.",
            )
        return Blob(hash=digest, size=size)

    def delete(self, digest: str) -> bool:
        """Remove the blob; False when there was none."""
        place = self.place(hex_digest(digest))
        try:
            place.unlink()
        except FileNotFoundError:
            return False
        sync_folder(place.parent)
        return True

    def sweep(self, older_than: float = STALE_SECONDS) -> int:
        """Remove what writers that died left behind; returns how many files."""
        limit, count = time.time() - older_than, 0
        for leftover in self.incoming.glob("put-*"):
            with suppress(FileNotFoundError):
                if leftover.stat().st_mtime < limit:
                    leftover.unlink()
                    count += 1
        return count


def _folders(root: Path) -> Iterator[Path]:
    with suppress(FileNotFoundError):
        for entry in os.scandir(root):
            if len(entry.name) == PREFIX_LENGTH and entry.is_dir():
                yield Path(entry.path)


def _readable(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise BlobFileUnreadable(
            f"Cannot read {str(path)!r}: {error.strerror or error}.",
            hint="Check the path and its permissions.",
        ) from error


def _chunks(source: BinaryIO) -> Iterator[bytes]:
    while chunk := source.read(CHUNK):
        yield chunk
