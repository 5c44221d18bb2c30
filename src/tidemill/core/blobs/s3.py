"""Blobs in an S3 bucket: `<prefix>/<two hex digits>/<hex>`, with a local folder as a cache for reading."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import SecretStr

from tidemill.core.blobs.local import HEX_LENGTH, LocalBlobs, LocalWriter
from tidemill.core.blobs.types import (
    CHUNK,
    Blob,
    BlobCorrupt,
    BlobMissing,
    Explain,
    StoredBlob,
    explain_nothing,
    hex_digest,
    missing,
)
from tidemill.core.errors import Forbidden, Unavailable

FRESH_S = 3600.0
"""An object that was put longer ago is put again when its content is: that is how it counts as put now."""

PART = 8 * 2**20
"""Bytes of one part of a multipart upload; a smaller blob is one request."""


@contextmanager
def store_errors(digest: str, where: str) -> Iterator[None]:
    """Raise obstore's errors as BlobMissing, Forbidden or Unavailable."""
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

    try:
        yield
    except FileNotFoundError as error:
        raise missing(digest) from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise Forbidden(
            f"The object store at {where} refuses access.",
            hint="Check TIDEMILL_S3_ACCESS_KEY_ID and its secret.",
        ) from error
    except BaseError as error:
        raise Unavailable(
            f"The object store at {where} does not answer as it should: {str(error)[:300]}",
            hint="Check TIDEMILL_BLOB_URL and TIDEMILL_S3_ENDPOINT, then try again.",
        ) from error


class S3Writer:
    """One blob on its way into an `S3Blobs`: complete here before it is sent, for its name is its hash."""

    def __init__(self, store: "S3Blobs", limit: int | None) -> None:
        self.store = store
        self.inner: LocalWriter = store.cache.writer(limit)

    def write(self, chunk: bytes) -> None:
        """Add bytes. Raises BlobTooLarge over the limit and StorageFull when the disk is full."""
        self.inner.write(chunk)

    def finish(self) -> Blob:
        """Send the bytes; they are visible to others when this returns."""
        blob = self.inner.finish()
        self.store.send(blob)
        return blob

    def __enter__(self) -> "S3Writer":
        return self

    def __exit__(self, *exc: object) -> None:
        self.inner.__exit__(*exc)


class S3Blobs:
    """A store in a bucket. The bucket decides what exists; the cache only saves reading twice."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        cache: Path,
        *,
        endpoint: str | None = None,
        region: str = "us-east-1",
        access_key_id: str | None = None,
        secret_access_key: SecretStr | None = None,
        retries: int = 4,
    ) -> None:
        from obstore.store import S3Store

        self.cache = LocalBlobs(cache)
        self.prefix = prefix.strip("/")
        self.explain: Explain = explain_nothing
        self.where = f"{endpoint or 's3'}/{bucket}"
        config: dict[str, Any] = {"bucket": bucket, "region": region}
        if endpoint is not None:
            config |= {"endpoint": endpoint, "virtual_hosted_style_request": False}
        if access_key_id is not None:
            config["access_key_id"] = access_key_id
        if secret_access_key is not None:
            config["secret_access_key"] = secret_access_key.get_secret_value()
        self.bucket = S3Store(
            config=config,  # type: ignore[arg-type]  # a plain dict, built key by key
            client_options={
                "allow_http": (endpoint or "").startswith("http://"),
                "timeout": timedelta(minutes=10),
            },
            retry_config={"max_retries": retries, "retry_timeout": timedelta(seconds=30)},
        )

    def key(self, digest: str) -> str:
        """Return the key of a blob in the bucket."""
        name = hex_digest(digest)
        return "/".join(part for part in (self.prefix, name[:2], name) if part)

    def writer(self, limit: int | None = None) -> S3Writer:
        """Begin a blob whose bytes come piece by piece; `limit` is its largest size in bytes."""
        return S3Writer(self, limit)

    def send(self, blob: Blob) -> None:
        """Copy a blob from the cache to the bucket unless it is there. Two senders of one blob do no harm."""
        import obstore

        existing = self.stat(blob.hash)
        if existing is not None and existing.size == blob.size and time.time() - existing.put_at < FRESH_S:
            return
        with store_errors(blob.hash, self.where):
            obstore.put(self.bucket, self.key(blob.hash), self.cache.path(blob.hash), chunk_size=PART)

    def put_bytes(self, content: bytes) -> Blob:
        """Store `content` under its hash; return what was stored."""
        return self.put_stream([content])

    def put_file(self, path: Path, limit: int | None = None) -> Blob:
        """Store the content of a file."""
        blob = self.cache.put_file(path, limit)
        self.send(blob)
        return blob

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
        """Return a local, read-only file with the content, fetched and checked on first use. Raises BlobMissing."""
        if not self.cache.exists(digest):
            self._fetch(digest)
        return self.cache.path(digest)

    def _fetch(self, digest: str) -> None:
        import obstore

        try:
            with store_errors(digest, self.where), self.cache.writer() as writer:
                for chunk in obstore.get(self.bucket, self.key(digest)).stream(min_chunk_size=CHUNK):
                    writer.write(bytes(chunk))
                blob = writer.finish()
        except BlobMissing as error:
            raise missing(digest, self.explain) from error
        if blob.hash != digest:
            self.cache.delete(blob.hash)
            raise BlobCorrupt(
                f"The object for {digest} in {self.where} holds other content ({blob.hash}).",
                hint="Delete the object and upload the content again.",
            )

    def find(self, digest: str) -> Blob | None:
        """Return the blob of this hash, or None. Asks the bucket."""
        head = self.stat(digest)
        return Blob(hash=digest, size=head.size) if head is not None else None

    def stat(self, digest: str) -> StoredBlob | None:
        """Return the blob with the time when it was last put or claimed, or None. Asks the bucket."""
        import obstore

        try:
            with store_errors(digest, self.where):
                facts = obstore.head(self.bucket, self.key(digest))
        except BlobMissing:
            return None
        return StoredBlob(digest, facts["size"], facts["last_modified"].timestamp())

    def claim(self, digest: str) -> Blob | None:
        """Return the blob, or None, and protect it as if it were put now: the caller is about to refer to it."""
        blob = self.find(digest)
        if blob is not None:
            self.path(digest)  # into the cache, from where it is put again
            self.send(blob)
        return blob

    def list(self) -> Iterator[StoredBlob]:
        """Yield every blob, in no order."""
        import obstore

        with store_errors("", self.where):
            for chunk in obstore.list(self.bucket, self.prefix or None):
                for facts in chunk:
                    name = facts["path"].rsplit("/", 1)[-1]
                    if len(name) == HEX_LENGTH:
                        yield StoredBlob(f"sha256:{name}", facts["size"], facts["last_modified"].timestamp())

    def collect(self, digest: str, put_before: float) -> bool:
        """Remove a blob that nothing refers to, unless it was put or claimed at `put_before` (Unix time) or later.

        Return False when it stays, or there was none. S3 has no conditional removal: an object that nobody needed
        for days and that is put in the very moment between the look at it and its removal is lost to who put it.
        """
        head = self.stat(digest)
        return head is not None and head.put_at < put_before and self.delete(digest)

    def exists(self, digest: str) -> bool:
        """Return whether the bucket has the blob."""
        return self.find(digest) is not None

    def verify(self, digest: str) -> Blob:
        """Read the whole object again and compare. Raises BlobCorrupt or BlobMissing."""
        self.cache.delete(digest)
        self._fetch(digest)
        return self.cache.verify(digest)

    def delete(self, digest: str) -> bool:
        """Remove the blob from the bucket and the cache; False when the bucket had none."""
        import obstore

        there = self.exists(digest)
        with store_errors(digest, self.where):
            obstore.delete(self.bucket, self.key(digest))
        self.cache.delete(digest)
        return there
