"""Moments as people type them, by one rule for every command and every query of the API."""

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Annotated, Any

from pydantic import BeforeValidator

from tidemill.core.durations import parse_duration
from tidemill.core.errors import BadRequest
from tidemill.core.wire import Instant, check_moment, utc_now

TIME_FORMS = "30m, 6h or 7d ago, 2026-11-21, 2026-11-21T14:03, or with a zone 2026-11-21T14:03Z or +01:00"
"""The forms of a moment, for help texts and errors."""

_LENGTH = re.compile(r"\d+\s*[a-z]+")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def read_time(text: str, *, zone: tzinfo | None = None, ahead: bool = False) -> datetime:
    """Return the moment in UTC that a text means. Raises ValueError.

    The text is a length of time before now (with `ahead` after it), or a date or time in ISO 8601. What says no zone
    is in `zone`, or by the clock of this machine without one.
    """
    stripped = text.strip()
    try:
        if _LENGTH.fullmatch(stripped):
            length = timedelta(seconds=parse_duration(stripped))
            return check_moment(utc_now() + length if ahead else utc_now() - length)
        day = date.fromisoformat(stripped) if _DATE.fullmatch(stripped) else None
        moment = datetime.combine(day, time()) if day is not None else datetime.fromisoformat(stripped)
        if moment.tzinfo is None and zone is not None:
            moment = moment.replace(tzinfo=zone)
        return check_moment(moment.astimezone(UTC))
    except (ValueError, OverflowError, OSError, BadRequest) as error:
        raise ValueError(f"{text[:80]!r} is no time") from error


def parse_time(text: str, *, ahead: bool = False) -> datetime:
    """Return the moment in UTC that an argument of a command means, by the reader's own clock. Raises BadRequest."""
    try:
        return read_time(text, ahead=ahead)
    except ValueError as error:
        forms = TIME_FORMS.replace("ago", "from now") if ahead else TIME_FORMS
        raise BadRequest(f"{error}.", hint=f"Write {forms}.") from error


def parse_time_option(text: str | None) -> datetime | None:
    """Return the moment that an option means, as `parse_time` does; None for an option that is left out."""
    return None if text is None else parse_time(text)


def _read_query(value: Any) -> Any:
    """Read the forms that pydantic does not: lengths of time before now, and dates, which are days in UTC."""
    if isinstance(value, str) and (_LENGTH.fullmatch(value.strip()) or _DATE.fullmatch(value.strip())):
        return read_time(value, zone=UTC)
    return value


TimeQuery = Annotated[Instant, BeforeValidator(_read_query)]
"""A moment in a query: ISO 8601 with a zone, a day in UTC (2026-11-21), or a length of time before now (7d)."""
