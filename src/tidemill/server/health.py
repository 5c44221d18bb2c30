"""The route of the server's health."""

from fastapi import APIRouter

from tidemill import __version__
from tidemill.core.web import RequestContext, role
from tidemill.core.wire import Value

router = APIRouter(prefix="/api", tags=["server"])


class Health(Value):
    """The version of the server, its database and its home."""

    version: str
    database: str
    schema_revision: str | None
    home: str


@router.get("/health", openapi_extra=role("viewer"))
def health(request: RequestContext) -> Health:
    """Return the server's version, database and schema revision."""
    kernel = request.kernel
    return Health(
        version=__version__,
        database=kernel.db.url.get_backend_name(),
        schema_revision=kernel.db.revision(),
        home=str(kernel.settings.home),
    )
