"""One engine process from its start to its end."""

import json
import logging
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

from tidemill.core.kernel import Kernel
from tidemill.core.parsing import parse_json
from tidemill.core.wire import new_id
from tidemill.engines.service import load_engine
from tidemill.engines.types import EngineFailed, EngineProcess, Replica, ReplicaState, Servable
from tidemill.registry import service as registry

log = logging.getLogger("tidemill.engines")

START_TIMEOUT_S = 180.0
SMOKE_TIMEOUT_S = 60.0
HEALTH_TIMEOUT_S = 5.0


class RunningReplica:
    """The engine process of one replica. Blocking methods are called in threads."""

    def __init__(self, kernel: Kernel, servable: Servable) -> None:
        self.id = new_id("rep")
        self.servable = servable
        self.state: ReplicaState = "starting"
        self.in_flight = 0
        self.supports_tools = True
        self.suspect = 0
        self.since = time.monotonic()
        self.log_path = kernel.folder("logs") / f"engine-{servable.key}-{self.id[-8:]}.log"
        self._pid_file = kernel.folder("run", "engines") / f"{self.id}.json"
        self._kernel = kernel
        self._process: EngineProcess | None = None
        self._cancelled = False

    @property
    def base_url(self) -> str:
        """Root address; raises EngineFailed before the start."""
        if self._process is None:
            raise EngineFailed("The engine has not been started.")
        return self._process.base_url

    def start(self) -> None:
        """Start the process, wait until it listens, and generate one token. Raises EngineFailed and registry errors."""
        settings = self._kernel.settings
        weights = registry.weights_path(self._kernel, self.servable.model)
        adapters = [registry.weights_path(self._kernel, self.servable.adapter)] if self.servable.adapter else []
        engine = load_engine(self._kernel.plugins, settings)
        self._process = engine.start(
            weights,
            log=self.log_path,
            adapters=adapters,
            threads=settings.threads,
            context=settings.engine_context,
            parallel=settings.engine_parallel,
        )
        self._write_pid_file(self._process.pid)
        if self._cancelled:
            self._process.stop(0)
        self._process.wait_ready(START_TIMEOUT_S)
        self._smoke_test()
        self.supports_tools = self._process.supports_tools()

    def _smoke_test(self) -> None:
        body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        completion = parse_json(self._call("/v1/chat/completions", body, SMOKE_TIMEOUT_S))
        if completion.get("usage", {}).get("completion_tokens", 0) < 1:
            raise EngineFailed("The engine listens but writes no token.", details={"said": completion})

    def healthy(self) -> bool:
        """Return whether its health endpoint answers; logs a warning when it does not."""
        try:
            self._call("/health", None, HEALTH_TIMEOUT_S)
        except EngineFailed as error:
            log.warning("replica %s of %s: %s", self.id, self.servable.label, error.message)
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
                content: bytes = reply.read()
                return content
        except (urllib.error.URLError, OSError) as error:
            raise EngineFailed(f"No answer from the engine to {path}: {error}.") from error

    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.alive()

    def stop(self, grace: float = 5.0) -> None:
        """Stop the process, also during its start."""
        self._cancelled = True
        if self._process is not None:
            self._process.stop(grace)
        self._pid_file.unlink(missing_ok=True)

    def _write_pid_file(self, pid: int) -> None:
        try:
            created = psutil.Process(pid).create_time()
        except psutil.NoSuchProcess:
            return  # it ended at once; `wait_ready` says why
        self._pid_file.write_text(json.dumps({"pid": pid, "created": created}), encoding="utf-8")

    def to_value(self, *, restarts: int, pinned: bool, error: str | None) -> Replica:
        """Return the replica as the API shows it."""
        ready = self.state in ("ready", "draining")
        return Replica(
            id=self.id,
            serves=self.servable.label,
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
    """Kill engines that an earlier server left behind. Return how many there were.

    Engines end with their server by themselves, so this only meets one that hangs.
    """
    count = 0
    for pid_file in folder.glob("*.json"):
        try:
            recorded = parse_json(pid_file.read_text(encoding="utf-8"))
            process = psutil.Process(recorded["pid"])
            if abs(process.create_time() - recorded["created"]) < 1:
                process.kill()
                process.wait(10)
                count += 1
        except psutil.TimeoutExpired:
            log.warning("the engine of %s does not end", pid_file.name)
        except psutil.NoSuchProcess:
            log.debug("engine of %s has ended already", pid_file.name)
        except (ValueError, KeyError) as error:
            log.warning("%s cannot be read: %s", pid_file.name, error)
        pid_file.unlink(missing_ok=True)
    return count
