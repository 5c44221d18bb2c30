"""`client.blobs`: files go up before the body that names them."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tidemill.core.blobs.types import Blob
from tidemill.core.errors import Invalid
from tidemill.core.http import Http

CHUNK = 1 << 20


class FileUnreadable(Invalid):
    """A local file cannot be read."""

    code = "file_unreadable"


class BlobStore:
    """Bytes under their content hash."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def put(self, path: str | Path, *, progress: Callable[[int, int], None] | None = None) -> Blob:
        """Upload one file; `progress(sent, total)` counts bytes. Raises FileUnreadable before anything is sent."""
        file = Path(path)
        try:
            total = file.stat().st_size
            if not file.is_file():
                raise FileUnreadable(f"{file} is not a file.", hint="Give the path of one file.", param="path")
            source = file.open("rb")
        except OSError as error:
            raise FileUnreadable(
                f"{file} cannot be read: {error.strerror}.", hint="Check the path and its permissions.", param="path"
            ) from error

        def chunks() -> Iterator[bytes]:
            sent_bytes = 0
            while chunk := source.read(CHUNK):
                yield chunk
                sent_bytes += len(chunk)
                if progress is not None:
                    progress(sent_bytes, total)

        with source:
            return self._http.upload("/api/blobs", Blob, chunks())

    def get(self, digest: str, into: str | Path) -> int:
        """Download a blob to a file; returns its size in bytes. The file appears whole or stays as it was."""
        target = Path(into)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".blob-") as room:
            part = Path(room) / "part"
            with part.open("wb") as file:
                size = self._http.download(f"/api/blobs/{digest}", file)
            part.replace(target)
        return size
