"""Whether the server lives."""

from fastapi import APIRouter

from tidemill import __version__
from tidemill.core.web import RequestContext, role
from tidemill.core.wire import Value

router = APIRouter(prefix="/api", tags=["server"])


class Health(Value):
    """The server's own account of itself."""

    version: str
    database: str
    schema_revision: str | None
    home: str


@router.get("/health", openapi_extra=role("viewer"))
def health(request: RequestContext) -> Health:
    """Version, database and schema."""
    kernel = request.kernel
    return Health(
        version=__version__,
        database=kernel.db.url.get_backend_name(),
        schema_revision=kernel.db.revision(),
        home=str(kernel.settings.home),
    )
