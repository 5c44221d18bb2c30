"""What the chapters of the demo share: people, connections, the console, and the results so far."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tidemill.access.types import PersonExists
from tidemill.client import Client
from tidemill.core.actors import Role
from tidemill.core.settings import Settings
from tidemill.core.terminal import Terminal, duration
from tidemill.core.wire import utc_now
from tidemill.jobs.cli import follow
from tidemill.jobs.types import Job

PEOPLE: dict[str, tuple[str, Role]] = {"dana": ("Dana Kim", "developer"), "amir": ("Amir Haddad", "approver")}
"""Who acts in the demo: one builds, the other approves."""

_WHOLE_WIDTH = 20
"""Cells up to this wide are never broken over lines."""


@dataclass(frozen=True)
class DemoSize:
    """How much of everything the demo does."""

    steps: int | None = None
    proof_rows: int | None = None
    questions: int | None = None
    quiet: int = 220
    """Questions as usual, before the mix shifts."""
    sample: int = 150
    """Texted questions that an expert judges: what the retrained release is measured by."""
    shifted: int = 300
    window: int = 250
    core: int = 700
    """Rows of the first training that are kept in the mix."""
    retraining: dict[str, Any] = field(
        default_factory=lambda: {
            "learning_rate": 5e-4,
            "batch_size": 16,
            "max_steps": 75,
            "max_length": 256,
            "eval_every": 25,
            "eval_rows": 96,
        }
    )
    reproof: dict[str, Any] = field(default_factory=lambda: {"rows": 64, "margin": 0.12, "max_tokens": 16})
    gain: float = 0.1
    """The improvement that the gate on texted questions should be able to see."""
    margin: float = 0.05
    """How much worse the retrained release may be on the first questions."""


FULL = DemoSize()
QUICK = DemoSize(
    steps=32,
    proof_rows=24,
    questions=60,
    quiet=40,
    sample=60,
    shifted=120,
    window=100,
    core=200,
    # A model that has seen so little learns at the pace of the first training, or its second one shows nothing.
    retraining={"learning_rate": 1e-3, "batch_size": 16, "max_steps": 24, "eval_every": 24, "eval_rows": 32},
    reproof={"rows": 24, "margin": 0.5, "min_same": 0.2, "max_tokens": 16},
    margin=0.3,
)
"""For a look at the whole way in a few minutes; its figures mean little."""


@dataclass
class DemoContext:
    """The demo's people, their connections, its output and its results so far."""

    owner: Client
    size: DemoSize
    terminal: Terminal
    results: dict[str, Any] = field(default_factory=dict)
    times: dict[str, float] = field(default_factory=dict)
    clients: dict[str, Client] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    muted: bool = False
    """Chapters on the way to the one that was asked for print nothing but their heading."""

    @property
    def out(self) -> Console:
        """The console that the chapters print to."""
        return self.terminal.out

    def client(self, name: str) -> Client:
        """Return the connection of one of the people, with a key that lasts a day."""
        if name not in self.clients:
            called, role = PEOPLE[name]
            try:
                self.owner.access.create_person(name, [role], display_name=called)
            except PersonExists:
                self.say(f"{called} ({role}) is known here already.", style="dim")
            created = self.owner.access.create_key(name, name="demo", expires_at=utc_now() + timedelta(days=1))
            self.keys[name] = created.secret
            self.clients[name] = Client(self.owner.http.base_url, api_key=created.secret)
        return self.clients[name]

    def key(self, name: str) -> str:
        """Return the key of one of the people."""
        self.client(name)
        return self.keys[name]

    @property
    def dana(self) -> Client:
        """The connection of Dana, who builds."""
        return self.client("dana")

    @property
    def amir(self) -> Client:
        """The connection of Amir, who approves."""
        return self.client("amir")

    @property
    def home(self) -> Path:
        """The home folder of the demo's server."""
        return Settings().home

    def say(self, text: str, style: str = "") -> None:
        """Print one line of text."""
        self.show(Text(text, style=style))

    def show(self, renderable: RenderableType) -> None:
        """Print a renderable, indented; nothing in a muted chapter."""
        if not self.muted:
            self.out.print(Padding(renderable, (0, 0, 0, 4)))

    def rows(self, headings: list[str], rows: list[list[Any]]) -> None:
        """Print a table: on a narrow screen headings give way before figures do."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        cells = [[str(value) for value in row] for row in rows]
        for number, heading in enumerate(headings):
            widest = max((cell_len(row[number]) for row in cells), default=0)
            table.add_column(heading, min_width=min(widest, _WHOLE_WIDTH))
        for row in cells:
            table.add_row(*row)
        self.show(table)

    @contextmanager
    def chapter(self, number: int, title: str, *, muted: bool = False) -> Iterator[None]:
        """Print the heading, run the block, and print how long it took. A muted chapter prints its heading only."""
        self.muted = muted
        if not muted:
            self.out.print()
        self.out.print(Text(f"{number:2d}. {title}", style="dim" if muted else "bold cyan"))
        began = time.monotonic()
        yield
        self.times[title] = time.monotonic() - began
        self.say(f"({duration(self.times[title])})", style="dim")

    def wait(self, job_id: str | None, label: str) -> Job | None:
        """Show a job until it has ended; retry it first when it failed or was cancelled before."""
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
