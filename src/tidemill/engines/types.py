"""The engine protocols, what pools serve, and the replicas as the API shows them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pydantic import Field

from tidemill.core.errors import Failed, Unavailable
from tidemill.core.wire import Value
from tidemill.registry.types import ModelVersion

GROUP = "tidemill.engines"
"""Entry-point group of the seam; `llamacpp` is built in, and the setting `engine` chooses."""
ReplicaState = Literal["starting", "ready", "draining", "waiting"]


class EngineFailed(Failed):
    """An engine did not start, or ended by itself."""

    code = "engine_failed"


class EngineUnavailable(Unavailable):
    """No replica of the model answers now."""

    code = "engine_unavailable"


class EnginesNotRunning(Unavailable):
    """This process runs no engines."""

    code = "engines_not_running"


@dataclass(frozen=True)
class Servable:
    """What the replicas of one pool serve: a model version, and an optional adapter."""

    key: str
    """Id of the release or of the bare model version; a pool is known by it."""
    label: str
    """Such as `support@3`."""
    model: ModelVersion
    adapter: ModelVersion | None = None


class EngineProcess(Protocol):
    """A process that serves a model."""

    @property
    def base_url(self) -> str:
        """Root address, such as `http://127.0.0.1:41001`; the OpenAI surface is under `/v1`."""
        ...

    @property
    def pid(self) -> int:
        """Id of the process."""
        ...

    def wait_ready(self, timeout: float) -> None:
        """Wait until it answers. Raises EngineFailed with the end of its log after `timeout` s."""
        ...

    def supports_tools(self) -> bool:
        """Return whether the model sees the `tools` of a request: its chat template decides. Raises EngineFailed."""
        ...

    def alive(self) -> bool:
        """Whether the process runs."""
        ...

    def stop(self, grace: float = 5.0) -> None:
        """Stop the process: terminate, then kill after `grace` seconds. Does nothing when it is stopped."""
        ...


class Engine(Protocol):
    """Starts engine processes of one kind; the object behind an entry point of `tidemill.engines`."""

    formats: Collection[str]
    """The formats of model files that it serves, such as `gguf`."""
    package: str
    """The Python package that it runs; `tidemill doctor` looks whether it is installed."""

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


class Replica(Value):
    """One engine as the supervisor sees it."""

    id: str
    serves: str = Field(description="Such as `support@3`.")
    state: ReplicaState
    pid: int | None
    base_url: str | None
    in_flight: int
    restarts: int
    pinned: bool = Field(description="A deployment needs it; other replicas stop when they are idle.")
    error: str | None
    log: str = Field(description="Name of its log file in the home folder's `logs`.")


class Fleet(Value):
    """All engines of this server."""

    replicas: list[Replica]
    waiting: int = Field(description="Requests that wait for a free slot.")
