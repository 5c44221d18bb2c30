"""One engine process from its start to its end."""

import json
import logging
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

from tidemill.core.engine import Engine, EngineProcess
from tidemill.core.kernel import Kernel
from tidemill.core.wire import new_id
from tidemill.deployments.engines.types import EngineFailed
from tidemill.deployments.types import Replica, ReplicaState
from tidemill.deployments.unit import Unit
from tidemill.registry import service as registry

log = logging.getLogger("tidemill.engines")

START_S = 180.0
SMOKE_S = 60.0
HEALTH_S = 5.0


class RunningReplica:
    """An engine that serves one unit. Its methods that wait are called in threads."""

    def __init__(self, kernel: Kernel, unit: Unit) -> None:
        self.id = new_id("rep")
        self.unit = unit
        self.state: ReplicaState = "starting"
        self.in_flight = 0
        self.suspect = 0
        self.since = time.monotonic()
        self.log_path = kernel.folder("logs") / f"engine-{unit.key}-{self.id[-8:]}.log"
        self._note = kernel.folder("run", "engines") / f"{self.id}.json"
        self._kernel = kernel
        self._process: EngineProcess | None = None
        self._called_off = False

    @property
    def base_url(self) -> str:
        """Where it listens; known once it is ready."""
        if self._process is None:
            raise EngineFailed("The engine has not been started.")
        return self._process.base_url

    def start(self) -> None:
        """Start the process, wait until it listens, and have it write one token. Raises what went wrong."""
        settings = self._kernel.settings
        weights = registry.weights_path(self._kernel, self.unit.model)
        adapters = [registry.weights_path(self._kernel, self.unit.adapter)] if self.unit.adapter else []
        engine: Engine = self._kernel.plugins.load("tidemill.engines", "llamacpp")()
        self._process = engine.start(
            weights,
            log=self.log_path,
            adapters=adapters,
            threads=settings.threads,
            context=settings.engine_context,
            parallel=settings.engine_parallel,
        )
        self._write_note(self._process.pid)
        if self._called_off:
            self._process.stop(0)
        self._process.wait_ready(START_S)
        self._smoke()

    def _smoke(self) -> None:
        body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        said = json.loads(self._call("/v1/chat/completions", body, SMOKE_S))
        if said.get("usage", {}).get("completion_tokens", 0) < 1:
            raise EngineFailed("The engine listens but writes no token.", details={"said": said})

    def healthy(self) -> bool:
        """Whether it says that it is well."""
        try:
            self._call("/health", None, HEALTH_S)
        except EngineFailed as error:
            log.warning("replica %s of %s: %s", self.id, self.unit.label, error.message)
            return False
        return True

    def _call(self, path: str, body: object, timeout: float) -> bytes:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(
            self.base_url + path, data=data, headers={"content-type": "application/json", "connection": "close"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=timeout) as reply:
                said: bytes = reply.read()
                return said
        except (urllib.error.URLError, OSError) as error:
            raise EngineFailed(f"No answer from the engine to {path}: {error}.") from error

    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.alive()

    def stop(self, grace: float = 5.0) -> None:
        """End it, also in the middle of its start."""
        self._called_off = True
        if self._process is not None:
            self._process.stop(grace)
        self._note.unlink(missing_ok=True)

    def _write_note(self, pid: int) -> None:
        try:
            created = psutil.Process(pid).create_time()
        except psutil.NoSuchProcess:
            return  # it ended at once; `wait_ready` says why
        self._note.write_text(json.dumps({"pid": pid, "created": created}), encoding="utf-8")

    def shown(self, *, restarts: int, pinned: bool, error: str | None) -> Replica:
        """As the API shows it."""
        ready = self.state in ("ready", "draining")
        return Replica(
            id=self.id,
            serves=self.unit.label,
            state=self.state,
            pid=self._process.pid if self._process is not None else None,
            base_url=self.base_url if ready else None,
            in_flight=self.in_flight,
            restarts=restarts,
            pinned=pinned,
            error=error,
            log=self.log_path.name,
        )


def kill_orphans(folder: Path) -> int:
    """End engines that an earlier server left behind; returns how many there were.

    Engines end with their server by themselves, so this only meets one that hangs.
    """
    count = 0
    for note in folder.glob("*.json"):
        try:
            known = json.loads(note.read_text(encoding="utf-8"))
            process = psutil.Process(known["pid"])
            if abs(process.create_time() - known["created"]) < 1:
                process.kill()
                process.wait(10)
                count += 1
        except psutil.TimeoutExpired:
            log.warning("the engine of %s does not end", note.name)
        except psutil.NoSuchProcess:
            log.debug("engine of %s has ended already", note.name)
        except (ValueError, KeyError) as error:
            log.warning("%s cannot be read: %s", note.name, error)
        note.unlink(missing_ok=True)
    return count
