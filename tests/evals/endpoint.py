"""An OpenAI-compatible chat endpoint with a mind of its own, as a process: the outside world of the tests.

The last user message decides how it behaves. `flaky 429 2 ...` fails twice with 429, then answers. Every request is
written to a log, so that a test can count who was asked how often.
"""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LABELS = {"how": "NUM", "where": "LOC", "who": "HUM"}


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, log: Path, delay: float) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.log = log
        self.delay = delay
        self.seen: dict[str, int] = {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_args: object) -> None:
        """Nothing on stderr."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = body["messages"][-1]["content"]
        count = self.server.seen[text] = self.server.seen.get(text, 0) + 1
        entry = {"at": time.time(), "text": text, "auth": self.headers.get("authorization"), "body": body}
        with self.server.log.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        time.sleep(self.server.delay)
        self._behave(body, text, count)

    def _behave(self, body: dict[str, Any], text: str, count: int) -> None:
        words = text.split()
        if body["model"] == "missing":
            self._send(404, {"error": {"message": "no such model: missing", "type": "x", "code": None}})
        elif words[0] == "flaky" and count <= int(words[2]):
            self._send(int(words[1]), {"error": {"message": "try later"}}, {"retry-after": words[3]})
        elif words[0] == "garbage":
            self._raw(b"<html>gateway</html>")
        elif words[0] == "empty":
            self._send(200, {"choices": []})
        elif words[0] == "cut":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif words[0] == "slow":
            time.sleep(5)
            self._answer("late")
        elif words[0] == "refuse":
            self._send(400, {"error": {"message": "this input is not allowed"}})
        else:
            self._answer(self._reply(body, text))

    def _reply(self, body: dict[str, Any], text: str) -> str:
        word = text.split()[0].lower()
        if body["model"] == "worse":
            return json.dumps({"type": "NUM"})
        if word in LABELS:
            return json.dumps({"type": LABELS[word]})
        return f"seed {body['seed']}" if "seed" in body else "I do not know."

    def _answer(self, text: str) -> None:
        message = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        self._send(200, {"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage})

    def _send(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        self._raw(json.dumps(value).encode(), status, headers)

    def _raw(self, content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


class Running:
    """A running endpoint and its log."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self.log = log

    def requests(self) -> list[dict[str, Any]]:
        """Every request so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def texts(self) -> list[str]:
        """What was asked, in order."""
        return [r["text"] for r in self.requests()]


@contextmanager
def running(folder: Path, delay: float = 0.0) -> Iterator[Running]:
    """An endpoint process that ends with the block."""
    log = folder / "requests.jsonl"
    argv = [sys.executable, str(Path(__file__)), str(log), str(delay)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield Running(process.stdout.readline().strip(), log)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    server = Server(Path(sys.argv[1]), float(sys.argv[2]))
    print(f"http://127.0.0.1:{server.server_address[1]}/v1", flush=True)
    server.serve_forever()
