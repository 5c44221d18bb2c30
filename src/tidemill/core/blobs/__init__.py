"""Content-addressed storage: bytes under their own hash, in a local folder or in an S3 bucket."""

from urllib.parse import urlsplit

from tidemill.core.blobs.local import LocalBlobs
from tidemill.core.blobs.s3 import S3Blobs
from tidemill.core.blobs.types import (
    Blob,
    BlobCollected,
    BlobCorrupt,
    BlobFileUnreadable,
    BlobHashInvalid,
    BlobMissing,
    Blobs,
    BlobTooLarge,
    BlobWriter,
    StoredBlob,
)
from tidemill.core.errors import Invalid
from tidemill.core.settings import Settings

__all__ = [
    "Blob",
    "BlobCollected",
    "BlobCorrupt",
    "BlobFileUnreadable",
    "BlobHashInvalid",
    "BlobMissing",
    "BlobTooLarge",
    "BlobWriter",
    "Blobs",
    "LocalBlobs",
    "S3Blobs",
    "StoredBlob",
    "open_blobs",
]


class BlobUrlInvalid(Invalid):
    """The setting `blob_url` names no store."""

    code = "blob_url_invalid"


def open_blobs(settings: Settings) -> Blobs:
    """Return the store that the settings choose: `blob_url`, or the folder `blobs` of the home."""
    if not settings.blob_url:
        store = LocalBlobs(settings.home / "blobs")
        store.sweep()
        return store
    url = urlsplit(settings.blob_url)
    if url.scheme != "s3" or not url.netloc:
        raise BlobUrlInvalid(
            f"{settings.blob_url!r} is not a place for blobs.",
            hint="Set TIDEMILL_BLOB_URL to s3://bucket/prefix, or leave it empty for a local folder.",
            param="blob_url",
        )
    return S3Blobs(
        url.netloc,
        url.path,
        settings.home / "cache" / "blobs",
        endpoint=settings.s3_endpoint,
        region=settings.s3_region,
        access_key_id=settings.s3_access_key_id,
        secret_access_key=settings.s3_secret_access_key,
    )
