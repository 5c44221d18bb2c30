"""Headers of a name that goes out of service: RFC 9745 `Deprecation`, RFC 8594 `Sunset`, and its successor."""

from email.utils import format_datetime
from urllib.parse import quote

from tidemill.deployments.retirements.types import Retirement


def build_headers(retirement: Retirement) -> tuple[tuple[bytes, bytes], ...]:
    """The headers of every reply until the date."""
    since = f"@{int(retirement.announced_at.timestamp())}"
    successor = f'</v1/models/{quote(retirement.successor, safe="")}>; rel="successor-version"'
    return (
        (b"deprecation", since.encode()),
        (b"sunset", format_datetime(retirement.sunset, usegmt=True).encode()),
        (b"link", successor.encode()),
    )
