"""The seam for model engines: a program that serves one model file over an OpenAI-compatible HTTP surface."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

GROUP = "tidemill.engines"


class EngineProcess(Protocol):
    """A running engine."""

    @property
    def base_url(self) -> str:
        """Root address, such as `http://127.0.0.1:41001`; the OpenAI surface is under `/v1`."""
        ...

    @property
    def pid(self) -> int:
        """Process id."""
        ...

    def wait_ready(self, timeout: float) -> None:
        """Return when it answers; raise EngineFailed with the end of its log when it does not in `timeout` s."""
        ...

    def alive(self) -> bool:
        """Whether the process runs."""
        ...

    def stop(self, grace: float = 5.0) -> None:
        """End it: ask first, kill after `grace` seconds. Stopping a stopped engine does nothing."""
        ...


class Engine(Protocol):
    """Starts engines of one kind."""

    def start(
        self,
        model: Path,
        *,
        log: Path,
        adapters: Sequence[Path] = (),
        threads: int = 2,
        context: int = 2048,
        parallel: int = 4,
        chat_template: str | None = None,
    ) -> EngineProcess:
        """Start serving `model` on loopback and a free port.

        `context` is in tokens per parallel request; `parallel` is the number of requests decoded together.
        """
        ...
