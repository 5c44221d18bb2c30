"""Response headers of a name that is being retired: RFC 9745 `Deprecation`, RFC 8594 `Sunset`, and `Link`."""

from email.utils import format_datetime
from urllib.parse import quote

from tidemill.deployments.retirements.types import Retirement


def build_headers(retirement: Retirement, *, successor_answers: bool) -> tuple[tuple[bytes, bytes], ...]:
    """Return the headers of every response until the sunset date, with a link to a successor that answers."""
    since = f"@{int(retirement.announced_at.timestamp())}"
    dates = (
        (b"deprecation", since.encode()),
        (b"sunset", format_datetime(retirement.sunset, usegmt=True).encode()),
    )
    if not successor_answers:
        return dates
    successor = f'</v1/models/{quote(retirement.successor, safe="")}>; rel="successor-version"'
    return (*dates, (b"link", successor.encode()))
