"""The routes of blobs: a file is uploaded first, then other requests refer to it by its hash."""

from collections.abc import Iterator

import anyio
import anyio.from_thread
import anyio.to_thread
from fastapi import APIRouter, Request
from fastapi.responses import FileResponse
from starlette.requests import ClientDisconnect

from tidemill.core.blobs import Blob
from tidemill.core.errors import BodyIncomplete
from tidemill.core.web import RequestContext, role

router = APIRouter(prefix="/api/blobs", tags=["blobs"])


@router.post("", status_code=201, openapi_extra=role("developer"))
async def put(upload: Request, request: RequestContext) -> Blob:
    """Store the raw body under its content hash."""
    stream = upload.stream()

    async def following() -> bytes | None:
        try:
            return await anext(stream, None)
        except ClientDisconnect as error:
            raise BodyIncomplete("The upload ended before its file was complete.", hint="Send it again.") from error

    def chunks() -> Iterator[bytes]:
        while (chunk := anyio.from_thread.run(following)) is not None:
            yield chunk

    limit = request.kernel.settings.max_blob_bytes
    return await anyio.to_thread.run_sync(request.kernel.blobs.put_stream, chunks(), limit)


@router.get("/{digest}", openapi_extra=role("developer"), response_class=FileResponse)
def get(digest: str, request: RequestContext) -> FileResponse:
    """Return the bytes under a hash. Not for viewers: source files are stored before personal data is masked."""
    return FileResponse(request.kernel.blobs.path(digest), media_type="application/octet-stream")
