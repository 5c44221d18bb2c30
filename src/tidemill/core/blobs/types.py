"""What a blob store is: bytes kept under their own hash; equal content is stored once and never changes."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from pydantic import Field

from tidemill.core.errors import Conflict, Invalid, NotFound, TooLarge
from tidemill.core.value_faults import text_form
from tidemill.core.wire import Value

HASH_PATTERN = text_form(r"^sha256:[0-9a-f]{64}$", "sha256: and 64 hexadecimal digits")

CHUNK = 2**20
"""Bytes read or written at a time."""


class Blob(Value):
    """Bytes that are stored: their hash and their size."""

    hash: str = Field(pattern=HASH_PATTERN, description="`sha256:<hex>` of the content, which is also its name.")
    size: int = Field(ge=0, description="Length in bytes.")


class StoredBlob(NamedTuple):
    """A blob as the store lists it."""

    hash: str
    size: int
    put_at: float
    """When it was last put or claimed, in Unix time."""


class BlobMissing(NotFound):
    """No blob has this hash."""

    code = "blob_missing"


class BlobCollected(BlobMissing):
    """The blob was there, and was removed because nothing needed it any more."""

    code = "blob_collected"


class BlobCorrupt(Conflict):
    """The stored bytes are not those of the hash."""

    code = "blob_corrupt"


class BlobTooLarge(TooLarge):
    """The content is larger than the limit."""

    code = "blob_too_large"


class BlobHashInvalid(Invalid):
    """A blob's name is not a hash."""

    code = "blob_hash_invalid"


class BlobFileUnreadable(Invalid):
    """The file to be stored cannot be read."""

    code = "blob_file_unreadable"


class BlobWriter(Protocol):
    """Takes the bytes of one blob as they come. As a context manager it leaves nothing behind on an error."""

    def write(self, chunk: bytes) -> None:
        """Add bytes. Raises BlobTooLarge over the limit and StorageFull when the disk is full."""
        ...

    def finish(self) -> Blob:
        """Make the bytes durable and visible under their hash."""
        ...

    def __enter__(self) -> "BlobWriter": ...

    def __exit__(self, *exc: object) -> None: ...


Explain = Callable[[str], BlobMissing | None]


def explain_nothing(digest: str) -> BlobMissing | None:
    """Return None: the store stands alone, and nobody keeps account of what was removed from it."""
    return None


class Blobs(Protocol):
    """A content-addressed store. Putting content that is there already costs one comparison and no space."""

    explain: Explain
    """Says of a hash why its blob is no longer there; None when nothing is known of it."""

    def writer(self, limit: int | None = None) -> BlobWriter:
        """Begin a blob whose bytes come piece by piece; `limit` is its largest size in bytes."""
        ...

    def put_bytes(self, content: bytes) -> Blob:
        """Store `content` under its hash; return what was stored."""
        ...

    def put_file(self, path: Path, limit: int | None = None) -> Blob:
        """Store the content of a file."""
        ...

    def put_stream(self, chunks: Iterable[bytes], limit: int | None = None) -> Blob:
        """Store what `chunks` yields; nothing is kept when it fails or grows over `limit` bytes."""
        ...

    def open(self, digest: str) -> BinaryIO:
        """Return the content as a readable file. Raises BlobMissing."""
        ...

    def path(self, digest: str) -> Path:
        """Return a local, read-only file with the content, fetched first when the store is remote."""
        ...

    def find(self, digest: str) -> Blob | None:
        """Return the blob of this hash, or None."""
        ...

    def exists(self, digest: str) -> bool:
        """Return whether the store has the blob."""
        ...

    def stat(self, digest: str) -> StoredBlob | None:
        """Return the blob with the time when it was last put or claimed, or None."""
        ...

    def claim(self, digest: str) -> Blob | None:
        """Return the blob, or None, and protect it as if it were put now: the caller is about to refer to it."""
        ...

    def list(self) -> Iterator[StoredBlob]:
        """Yield every blob, in no order."""
        ...

    def collect(self, digest: str, put_before: float) -> bool:
        """Remove a blob that nothing refers to, unless it was put or claimed at `put_before` (Unix time) or later.

        Return False when it stays, or there was none.
        """
        ...

    def verify(self, digest: str) -> Blob:
        """Read the whole content again and compare. Raises BlobCorrupt or BlobMissing."""
        ...

    def delete(self, digest: str) -> bool:
        """Remove the blob; False when there was none. The caller knows that nothing refers to it any more."""
        ...


def hex_digest(digest: str) -> str:
    """Return the hexadecimal part of `sha256:<hex>`, safe as a file name. Raises BlobHashInvalid."""
    if not re.fullmatch(HASH_PATTERN, digest):
        raise BlobHashInvalid(
            f"{digest[:100]!r} is not the hash of a blob.",
            hint="It looks like sha256: and 64 hexadecimal digits.",
        )
    return digest.removeprefix("sha256:")


def missing(digest: str, explain: Explain = explain_nothing) -> BlobMissing:
    """Return the error for a blob that is not there."""
    return explain(digest) or BlobMissing(
        f"There is no blob {digest}.", hint="Upload the content first: POST /api/blobs."
    )
