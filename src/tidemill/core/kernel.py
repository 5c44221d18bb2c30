"""The kernel object: what a running Tidemill has at hand, built once by the composition in `server/`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tidemill.core.blobs import Blobs
from tidemill.core.context import Actor, Context
from tidemill.core.db import Database
from tidemill.core.facts import Event
from tidemill.core.jobs.compute import Compute
from tidemill.core.jobs.service import Jobs
from tidemill.core.plugins import Plugins
from tidemill.core.settings import Settings

T = TypeVar("T")

Listener = Callable[[Context, Event], None]
"""Called with a fact inside the transaction that emits it: what it does is kept exactly if the fact is."""


@dataclass
class Kernel:
    """Settings, database, blobs, jobs, compute and plugins of one running Tidemill.

    `self_url` and `owner_token` are set while a server listens: a job that needs the gateway calls it there.
    """

    settings: Settings
    db: Database
    blobs: Blobs
    jobs: Jobs
    compute: Compute
    plugins: Plugins = field(default_factory=Plugins)
    self_url: str | None = None
    pause_processes: bool = False
    """Whether a server that stops in good order also stops what it started; a later one starts it again."""
    owner_token: str | None = None
    listeners: Mapping[str, Sequence[Listener]] = field(default_factory=dict)
    """Who is told of which kind of fact: how a lower feature moves a higher one. The table is in `server/app.py`."""
    _parts: dict[type[Any], Any] = field(default_factory=dict)

    def provide(self, part: object) -> None:
        """Put a feature's long-lived object, such as its store, at hand. Called by the composition."""
        self._parts[type(part)] = part

    def part(self, kind: type[T]) -> T:
        """The long-lived object of this type."""
        found: T = self._parts[kind]
        return found

    @contextmanager
    def work(self, actor: Actor) -> Iterator[Context]:
        """One writing unit of work: committed at the end, rolled back on any error."""
        with self.db.begin() as conn:
            context = Context(conn=conn, actor=actor, kernel=self)
            yield context
        for action in context.after_commit:
            action()

    @contextmanager
    def look(self, actor: Actor) -> Iterator[Context]:
        """One reading unit of work. Under SQLite it does not wait for writers."""
        with self.db.read() as conn:
            yield Context(conn=conn, actor=actor, kernel=self)

    def folder(self, *parts: str) -> Path:
        """A folder in the home, made when it is missing."""
        path = self.settings.home.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def close(self) -> None:
        """Give back what the kernel and its parts hold, the latest part first."""
        for part in reversed(self._parts.values()):
            close = getattr(part, "close", None)
            if close is not None:
                close()
        self.db.close()
