"""The kernel, which the composition in `server/` builds once, and the unit of work in which everything happens."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from tidemill.core.actors import Actor
from tidemill.core.blobs import Blobs
from tidemill.core.db import Database
from tidemill.core.event_types import Event
from tidemill.core.plugins import Plugins
from tidemill.core.settings import Settings
from tidemill.core.wire import utc_now

T = TypeVar("T")


@dataclass(frozen=True)
class Context:
    """One unit of work. Everything done with it is committed together at the edge, or not at all."""

    conn: sa.Connection
    actor: Actor
    kernel: "Kernel"
    now: datetime = field(default_factory=utc_now)
    after_commit: list[Callable[[], None]] = field(default_factory=list)

    def once_committed(self, action: Callable[[], None]) -> None:
        """Call `action` right after the transaction is committed; never when it is rolled back."""
        self.after_commit.append(action)


Listener = Callable[[Context, Event], None]
"""Called with a fact inside the transaction that emits it: what it does is kept exactly if the fact is."""


@dataclass
class Kernel:
    """Settings, database, blobs and plugins of one running Tidemill.

    `self_url` and `owner_token` are set while a server listens: a job that needs the gateway calls it there.
    """

    settings: Settings
    db: Database
    blobs: Blobs
    plugins: Plugins = field(default_factory=Plugins)
    self_url: str | None = None
    pause_processes: bool = False
    """Whether a server that stops in good order also stops what it started; a later one starts it again."""
    owner_token: str | None = None
    listeners: Mapping[str, Sequence[Listener]] = field(default_factory=dict)
    """Who is told of which kind of fact: how a lower feature moves a higher one. The table is in `server/app.py`."""
    loops: dict[str, Callable[[], bool]] = field(default_factory=dict)
    """What works beside the requests of this server, by name: whether it is alive."""
    _registered: dict[type[Any], Any] = field(default_factory=dict)

    def register(self, instance: object) -> None:
        """Store a feature's long-lived object by its type, for `get`. The composition calls it."""
        self._registered[type(instance)] = instance

    def get(self, kind: type[T]) -> T:
        """Return the object registered under this type."""
        registered: T = self._registered[kind]
        return registered

    @contextmanager
    def write(self, actor: Actor) -> Iterator[Context]:
        """One writing unit of work: committed at the end, rolled back on any error."""
        with self.db.begin() as conn:
            context = Context(conn=conn, actor=actor, kernel=self)
            yield context
        for action in context.after_commit:
            action()

    @contextmanager
    def read(self, actor: Actor) -> Iterator[Context]:
        """One reading unit of work. Under SQLite it does not wait for writers."""
        with self.db.read() as conn:
            yield Context(conn=conn, actor=actor, kernel=self)

    def folder(self, *parts: str) -> Path:
        """Return a folder in the home, created when it is missing."""
        path = self.settings.home.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def close(self) -> None:
        """Close the database and every registered object, the last registered first."""
        for instance in reversed(self._registered.values()):
            close = getattr(instance, "close", None)
            if close is not None:
                close()
        self.db.close()
