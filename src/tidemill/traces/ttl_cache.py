"""A cache of one value, for the rules that the writer applies to every span."""

import logging
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from tidemill.core.errors import TidemillError

log = logging.getLogger("tidemill.traces")

T = TypeVar("T")

TTL_S = 5.0
"""How long another process's change may go unnoticed; a change in this one is seen at once."""


class TtlCache(Generic[T]):
    """A value that is loaded when it is first needed, and again after TTL_S seconds."""

    def __init__(self, load: Callable[[], T]) -> None:
        self._load = load
        self._expires_at = 0.0
        self._value: T | None = None

    def get(self) -> T:
        """Return the value. When it cannot be loaded again the last one stays; without any the error is raised."""
        if self._value is not None and time.monotonic() < self._expires_at:
            return self._value
        # Set before loading: an invalidation meanwhile makes this value old again.
        self._expires_at = time.monotonic() + TTL_S
        try:
            self._value = self._load()
        except TidemillError as error:
            if self._value is None:
                raise
            log.warning("the rules for spans cannot be read, so the last ones stay: %s", error.message)
        return self._value

    def invalidate(self) -> None:
        """Load the value again when it is next needed."""
        self._expires_at = 0.0
