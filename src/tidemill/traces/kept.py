"""Rules that the writer applies to every span: read once, kept for a few seconds, and never guessed."""

import logging
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from tidemill.core.errors import TidemillError

log = logging.getLogger("tidemill.traces")

T = TypeVar("T")

KEPT_S = 5.0
"""How long another process's change may go unnoticed; a change in this one is seen at once."""


class Kept(Generic[T]):
    """A value that is loaded when it is first needed and again when it is old."""

    def __init__(self, load: Callable[[], T]) -> None:
        self._load = load
        self._until = 0.0
        self._value: T | None = None

    def get(self) -> T:
        """The value. When it cannot be loaded the last one stays; without any the error is raised."""
        if self._value is not None and time.monotonic() < self._until:
            return self._value
        # Taken before loading: what is changed meanwhile makes this value old again.
        until = time.monotonic() + KEPT_S
        self._until = until
        try:
            self._value = self._load()
        except TidemillError as error:
            if self._value is None:
                raise
            log.warning("the rules for spans cannot be read, so the last ones stay: %s", error.message)
        return self._value

    def forget(self) -> None:
        """Load it again when it is next needed."""
        self._until = 0.0
