"""The llama.cpp engine: one child process for each replica, on loopback, each on a port of its own."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Sequence
from pathlib import Path

from tidemill.core.parsing import parse_json
from tidemill.engines.types import EngineFailed

MODULE = "tidemill.engines.llamacpp_server"
_GGUF_MAGIC = b"GGUF"
_LOG_TAIL_LINES = 8
_PROPERTIES_TIMEOUT_S = 30.0


class LlamaCppProcess:
    """A running llama.cpp server. It dies with the process that started it."""

    def __init__(self, child: "subprocess.Popen[bytes]", log: Path) -> None:
        self._child = child
        self._log = log
        self._url: str | None = None
        self._lock = threading.Lock()
        self._buffer = b""

    @property
    def base_url(self) -> str:
        """Root address; known once `wait_ready` has returned."""
        if self._url is None:
            raise EngineFailed("The engine has not reported its address yet.", hint="Call wait_ready first.")
        return self._url

    @property
    def pid(self) -> int:
        """Id of the child process."""
        return self._child.pid

    def supports_tools(self) -> bool:
        """Return whether the chat template of the model has a place for tools. Raises EngineFailed."""
        request = urllib.request.Request(self.base_url + "/props", headers={"connection": "close"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=_PROPERTIES_TIMEOUT_S) as reply:
                properties = parse_json(reply.read())
        except (urllib.error.URLError, OSError, ValueError) as error:
            raise EngineFailed(f"The engine does not say what its chat template takes: {error}.") from error
        return bool(properties.get("chat_template_caps", {}).get("supports_tools", True))

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._child.poll() is None

    def wait_ready(self, timeout: float) -> None:
        """Wait until the server listens. Raises EngineFailed with the end of its log after `timeout` s."""
        deadline = time.monotonic() + timeout
        with self._lock:
            while self._url is None:
                line = self._next_line(deadline)
                if line is None:
                    self.stop(grace=0)
                    raise EngineFailed(
                        f"The engine did not answer within {timeout:g} s.{self._log_tail()}",
                        hint=f"Look into {self._log.name}; a large model may need more time or memory.",
                    )
                self._read_report(line)

    def _next_line(self, deadline: float) -> bytes | None:
        """Return the child's next line, b"" when it has ended, None at the deadline."""
        stdout = self._child.stdout
        assert stdout is not None
        while b"\n" not in self._buffer:
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0 or not select.select([stdout], [], [], remaining_s)[0]:
                return None
            data = os.read(stdout.fileno(), 4096)
            if not data:
                return b""
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line

    def _read_report(self, line: bytes) -> None:
        report = json.loads(line) if line else {}
        if "url" in report:
            self._url = str(report["url"])
            return
        code = self._wait_for_exit()
        raise EngineFailed(
            f"The engine ended at its start (exit code {code}).{self._log_tail()}",
            hint="The model file may be corrupt or too large for the memory that is free.",
            details={"exit_code": code, "reason": report.get("error")},
        )

    def _wait_for_exit(self) -> int:
        try:
            return self._child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            return self._child.wait()

    def _log_tail(self) -> str:
        try:
            lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            return f" Its log cannot be read: {error}."
        error_lines = [line.strip() for line in lines if " E " in line] or lines
        return " Its log ends: " + " | ".join(error_lines[-_LOG_TAIL_LINES:]) if error_lines else ""

    def stop(self, grace: float = 5.0) -> None:
        """Stop the process: terminate, then kill after `grace` seconds. Does nothing when it is stopped."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM if grace > 0 else signal.SIGKILL)
            try:
                self._child.wait(timeout=max(grace, 5.0))
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()


class LlamaCpp:
    """Starts llama.cpp servers from the package `xllamacpp`."""

    formats: Collection[str] = ("gguf",)
    package = "xllamacpp"

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
    ) -> LlamaCppProcess:
        """Start serving the GGUF file `model`, with LoRA adapters (GGUF) applied to every request.

        `context` is in tokens per request; `parallel` requests are decoded together.
        """
        for file in (model, *adapters):
            check_gguf(file)
        log.parent.mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, "-m", MODULE, "--model", str(model), "--threads", str(threads)]
        argv += ["--context", str(context), "--parallel", str(parallel), "--owner", str(os.getpid())]
        for adapter in adapters:
            argv += ["--adapter", str(adapter)]
        if chat_template is not None:
            template = log.with_suffix(".jinja")
            template.write_text(chat_template, encoding="utf-8")
            argv += ["--chat-template", str(template)]
        with log.open("ab") as sink:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                start_new_session=True,
            )
        return LlamaCppProcess(child, log)


def check_gguf(path: Path) -> None:
    """Raise EngineFailed unless `path` can be read and begins as a GGUF file does."""
    try:
        with path.open("rb") as file:
            start = file.read(len(_GGUF_MAGIC))
    except OSError as error:
        raise EngineFailed(f"The model file {path.name} cannot be read: {error.strerror}.") from error
    if start != _GGUF_MAGIC:
        raise EngineFailed(
            f"{path.name} is not a GGUF file: it begins with {start!r}.",
            hint="Convert the model with `tidemill tune compress`, or register the file again.",
        )
