"""What the chapters of the demo share: people, connections, the screen, and what has come about so far."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tidemill.access.types import PersonExists
from tidemill.client import Client
from tidemill.core.context import Role
from tidemill.core.jobs.cli import follow
from tidemill.core.jobs.types import Job
from tidemill.core.terminal import Terminal, duration
from tidemill.core.wire import utc_now

PEOPLE: dict[str, tuple[str, Role]] = {"dana": ("Dana Kim", "developer"), "amir": ("Amir Haddad", "approver")}
"""Who acts in the demo: one builds, the other approves."""


@dataclass(frozen=True)
class Size:
    """How much of everything the demo does."""

    steps: int | None = None
    proof_rows: int | None = None
    questions: int | None = None


FULL = Size()
QUICK = Size(steps=36, proof_rows=24, questions=60)
"""For a look at the whole way in two or three minutes; its figures mean little."""


@dataclass
class Stage:
    """The demo's props."""

    owner: Client
    size: Size
    terminal: Terminal
    facts: dict[str, Any] = field(default_factory=dict)
    times: dict[str, float] = field(default_factory=dict)
    clients: dict[str, Client] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def out(self) -> Console:
        """The screen."""
        return self.terminal.out

    def client(self, name: str) -> Client:
        """The connection of one of the people, with a key that lasts a day."""
        if name not in self.clients:
            called, role = PEOPLE[name]
            try:
                self.owner.access.create_person(name, [role], display_name=called)
            except PersonExists:
                self.say(f"{called} ({role}) is known here already.", style="dim")
            made = self.owner.access.create_key(name, name="demo", expires_at=utc_now() + timedelta(days=1))
            self.keys[name] = made.secret
            self.clients[name] = Client(self.owner.http.base_url, api_key=made.secret)
        return self.clients[name]

    @property
    def dana(self) -> Client:
        """The developer's connection."""
        return self.client("dana")

    @property
    def amir(self) -> Client:
        """The approver's connection."""
        return self.client("amir")

    def say(self, text: str, style: str = "") -> None:
        """One line for the reader."""
        self.show(Text(text, style=style))

    def show(self, thing: RenderableType) -> None:
        """Anything that can be drawn."""
        self.out.print(Padding(thing, (0, 0, 0, 4)))

    def rows(self, headings: list[str], rows: list[list[Any]]) -> None:
        """A small table for the reader."""
        table = Table(*headings, box=None, pad_edge=False, header_style="bold", padding=(0, 2))
        for row in rows:
            table.add_row(*(str(value) for value in row))
        self.show(table)

    @contextmanager
    def chapter(self, number: int, title: str) -> Iterator[None]:
        """A heading, and how long what follows took."""
        self.out.print()
        self.out.print(Text(f"{number:2d}. {title}", style="bold cyan"))
        began = time.monotonic()
        yield
        self.times[title] = time.monotonic() - began
        self.say(f"({duration(self.times[title])})", style="dim")

    def wait(self, job_id: str | None, label: str) -> Job | None:
        """Show a job until it has ended; take it up again when it failed or was cancelled before."""
        if job_id is None:
            return None
        job = self.owner.jobs.get(job_id)
        if job.state in ("failed", "cancelled"):
            self.say(f"Taking up {job.kind} again, which was {job.state}.", style="yellow")
            self.owner.jobs.retry(job_id)
        return follow(self.terminal, job_id, label=label)

    def close(self) -> None:
        """End the keys and the connections of the demo's people."""
        for name, client in self.clients.items():
            client.close()
            for key in self.owner.access.keys(person=name).items:
                if key.hint == self.keys[name][: len(key.hint)] and key.revoked_at is None:
                    self.owner.access.revoke_key(key.id)
