"""Span intake and queries of a real server: spans/s that are durable and queryable, bytes a span, acknowledgement
times, and query times over HTTP, with roll-ups and search on.

One server process is pinned to one core, the sender to another. Requests are OTLP/HTTP protobuf, 100 spans of some
2.2 KB each, in traces of five; the text is varied English. A span counts when its request was answered with 200 and it
is found again by a count over HTTP. The time to make the requests is not counted.

    python benchmarks/traces.py --spans 1000000 --senders 8
    python benchmarks/traces.py --spans 100000 --peer phoenix   # when arize-phoenix is installed
    python benchmarks/traces.py --spans 100000 --peer mlflow    # when mlflow is installed

Prints one JSON object.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import psutil
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

REQUEST = 100
"""Spans in one request."""
TRACE = 5
"""Spans in one trace."""
CHUNK = 50_000
"""So many spans are made before they are sent."""
HOURS = 20
"""The spans are spread over so many hours, the way a day looks."""

SENTENCES = """the order was sent from our store on monday and should arrive within three working days please check the
status page or reply to this message with your number we are sorry for any delay caused by high demand this week if you
would like a refund instead choose cancel in your account settings then confirm by mail payment returns usually take
five banking days after approval thank you for your patience and have a good day regards support team weather travel
hotel flight booking change seat upgrade luggage family tickets price discount code invalid expired"""
WORDS = SENTENCES.split()


def text(chance: random.Random, count: int) -> str:
    """So many words, with a number here and there."""
    return " ".join(chance.choices(WORDS, k=count)) + f" reference {chance.randrange(10**8)}"


def payloads(first: int, last: int, count: int, seed: int) -> list[bytes]:
    """The spans from `first` to `last` of `count` in requests, newest last."""
    chance = random.Random(f"{seed} {first}")
    now, span_ns = time.time_ns(), HOURS * 3600 * 1_000_000_000
    made = []
    for number in range(first, last, REQUEST):
        request = ExportTraceServiceRequest()
        of_resource = request.resource_spans.add()
        _put(of_resource.resource.attributes, {"service.name": "shop", "telemetry.sdk.name": "opentelemetry"})
        spans = of_resource.scope_spans.add()
        spans.scope.name = "opentelemetry.instrumentation.openai_v2"
        for at in range(REQUEST // TRACE):
            begin = now - span_ns + (number + at * TRACE) * span_ns // count
            _trace(spans.spans, chance, begin)
        made.append(request.SerializeToString())
    return made


def _trace(spans: Any, chance: random.Random, begin: int) -> None:
    trace, ids = chance.randbytes(16), [chance.randbytes(8) for _ in range(TRACE)]
    question, answer = text(chance, 60), text(chance, 70)
    shared = {"user.id": f"user-{chance.randrange(2000)}", "session.id": f"session-{chance.randrange(10**5)}"}
    for at in range(TRACE):
        span = spans.add()
        span.trace_id, span.span_id = trace, ids[at]
        span.parent_span_id = ids[0] if at else b""
        span.start_time_unix_nano = begin + at * 30_000_000
        span.end_time_unix_nano = span.start_time_unix_nano + chance.randrange(10**7, 3 * 10**9)
        span.status.code = 2 if chance.random() < 0.02 else 1
        if at in (1, 3):
            span.name = "chat"
            _put(span.attributes, shared | _chat(chance, question, answer))
        else:
            span.name = ("agent", "", "retrieve", "", "tool lookup")[at]
            kind = ("AGENT", "", "RETRIEVER", "", "TOOL")[at]
            said = {"input.value": question + text(chance, 100), "output.value": answer + text(chance, 80)}
            _put(span.attributes, shared | said | {"openinference.span.kind": kind, "tag": text(chance, 20)})


def _chat(chance: random.Random, question: str, answer: str) -> dict[str, Any]:
    model = chance.choice(["gpt-4o-mini", "support@3", "claude-haiku", "llama-8b"])
    system = "You are the support assistant of a shop. Answer briefly and kindly, and never promise a date. " * 2
    said = [{"role": "system", "parts": [{"type": "text", "content": system}]},
            {"role": "user", "parts": [{"type": "text", "content": question + " " + text(chance, 60)}]}]  # fmt: skip
    told = [{"role": "assistant", "parts": [{"type": "text", "content": answer}], "finish_reason": "stop"}]
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": model,
        "gen_ai.response.model": model,
        "gen_ai.response.id": "chatcmpl-" + chance.randbytes(12).hex(),
        "gen_ai.request.temperature": "0.2",
        "gen_ai.usage.input_tokens": chance.randrange(20, 900),
        "gen_ai.usage.output_tokens": chance.randrange(5, 300),
        "gen_ai.input.messages": json.dumps(said),
        "gen_ai.output.messages": json.dumps(told),
    }


def _put(attributes: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        pair = attributes.add()
        pair.key = name
        setattr(pair.value, "int_value" if isinstance(value, int) else "string_value", value)


async def send(url: str, headers: dict[str, str], bodies: list[bytes], senders: int) -> tuple[float, list[float], int]:
    """Send all, `senders` at a time. Seconds, acknowledgement times in ms, and how often the server asked to wait."""
    times: list[float] = []
    waits = 0
    queue = iter(bodies)

    async def one(session: aiohttp.ClientSession) -> None:
        nonlocal waits
        for body in queue:
            while True:
                began = time.perf_counter()
                async with session.post(url, data=body, headers=headers) as reply:
                    await reply.read()
                    if reply.status == 200:
                        times.append((time.perf_counter() - began) * 1000)
                        break
                    assert reply.status in (429, 503), (reply.status, await reply.text())
                waits += 1
                await asyncio.sleep(0.2)

    began = time.perf_counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=senders)) as session:
        await asyncio.gather(*(one(session) for _ in range(senders)))
    return time.perf_counter() - began, times, waits


def quantile(values: list[float], share: float) -> float:
    """The value below which a share lies."""
    return round(sorted(values)[min(int(len(values) * share), len(values) - 1)], 2)


class Tidemill:
    """A Tidemill server in a home of its own."""

    path = "/v1/traces"

    def __init__(self, folder: Path, core: int | None) -> None:
        self.home = folder / "home"
        self.folder = self.home / "traces"
        argv = [sys.executable, "-m", "tidemill", "up", "--port", "0"]
        self.process = _start(argv, core, {"TIDEMILL_HOME": str(self.home)})
        self.url, token = self._wait()
        self.headers = {"authorization": f"Bearer {token}"}

    def _wait(self) -> tuple[str, str]:
        from tidemill.core import presence

        for _ in range(1200):
            live = presence.find(self.home)
            if live is not None:
                return live.url, live.token
            time.sleep(0.05)
        raise RuntimeError("the server did not start")

    def stored(self) -> int:
        """Spans that a query finds."""
        days = httpx.get(f"{self.url}/api/traces/days", headers=self.headers, timeout=60).json()
        return sum(day["spans"] for day in days)

    def queries(self) -> dict[str, dict[str, Any]]:
        """What a person looks at, over HTTP."""
        now = datetime.now(UTC)
        newest = self._get("/api/traces", {"limit": 50})["items"]
        middle = (now - timedelta(hours=HOURS / 2)).isoformat()
        older = self._get("/api/traces", {"limit": 50, "until": middle})["items"]
        span = self._get(f"/api/traces/{older[0]['trace_id']}", {"payload": True})["nodes"][1]["span"]
        rare = span["input"][1]["content"].rsplit(" ", 1)[1] if isinstance(span["input"], list) else "reference"
        day = {"since": (now - timedelta(hours=24)).isoformat()}
        failed = {"limit": 50, "model": "support@3", "status": "error", "kind": "llm"}
        asked: dict[str, tuple[str, dict[str, Any]]] = {
            "dashboard, 24 h by model": ("/series", day | {"by": "model"}),
            "dashboard, 24 h in all": ("/series", day),
            "dashboard, 24 h of traces": ("/series", day | {"measure": "traces"}),
            "dashboard, one user": ("/series", day | {"by": "user", "key": "user-7"}),
            "list, newest 50": ("", {"limit": 50}),
            "list, from the middle": ("", {"limit": 50, "until": middle}),
            "list, one user": ("", {"limit": 50, "user": "user-7"}),
            "list, failed calls of a model": ("", failed),
            "list, a rare filter": ("", {"limit": 50, "model": "llama-8b", "min_ms": 2999.9}),
            "list, with a rare word": ("", {"text": rare}),
            "search, one rare word": ("/search", {"text": rare}),
            "search, two common words": ("/search", {"text": "refund monday", "limit": 50}),
            "tree": (f"/{newest[0]['trace_id']}", {}),
            "tree with payload, old": (f"/{older[-1]['trace_id']}", {"payload": True}),
            "response by id": (f"/responses/{span['response_id']}", {}),
            "sessions": ("/sessions", {"limit": 50}),
            "users": ("/users", {"limit": 50}),
        }
        return {name: {"path": f"/api/traces{path}", "params": params} for name, (path, params) in asked.items()}

    def _get(self, path: str, params: dict[str, Any]) -> Any:
        reply = httpx.get(f"{self.url}{path}", params=params, headers=self.headers, timeout=60)
        reply.raise_for_status()
        return reply.json()


class Peer:
    """Another trace server that takes OTLP/HTTP, for the same load."""

    def __init__(self, argv: list[str], port: int, folder: Path, core: int | None, *, path: str, ready: str,
                 count: Callable[["Peer"], int], headers: dict[str, str], env: dict[str, str]) -> None:  # fmt: skip
        self.folder, self.path, self.headers, self._count = folder, path, headers, count
        self.url = f"http://127.0.0.1:{port}"
        self.process = _start(argv, core, env)
        for _ in range(1800):
            try:
                if httpx.get(self.url + ready).status_code < 500:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise RuntimeError(f"{argv[0]} did not start")

    def stored(self) -> int:
        """Spans that its database has."""
        return self._count(self)

    def queries(self) -> dict[str, dict[str, Any]]:
        """Its pages ask in ways of their own; only the intake is compared here."""
        return {}


def _rows(pattern: str, table: str) -> Callable[[Peer], int]:
    import sqlite3

    def count(peer: Peer) -> int:
        (path,) = peer.folder.glob(pattern)
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as conn:
            return int(conn.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    return count


def phoenix(folder: Path, core: int | None) -> Peer:
    """Arize Phoenix on SQLite."""
    port = _free_port()
    env = {"PHOENIX_WORKING_DIR": str(folder), "PHOENIX_PORT": str(port), "PHOENIX_GRPC_PORT": str(_free_port())}
    return Peer([sys.executable, "-m", "phoenix.server.main", "serve"], port, folder, core, path="/v1/traces",
                ready="/healthz", count=_rows("phoenix.db", "spans"), headers={}, env=env)  # fmt: skip


def mlflow(folder: Path, core: int | None) -> Peer:
    """MLflow on SQLite."""
    port = _free_port()
    argv = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]  # fmt: skip
    return Peer(argv, port, folder, core, path="/v1/traces", ready="/health", count=_rows("mlflow.db", "spans"),
                headers={"x-mlflow-experiment-id": "0"}, env={})  # fmt: skip


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(argv: list[str], core: int | None, env: dict[str, str]) -> subprocess.Popen[bytes]:
    pinned = ["taskset", "-c", str(core), *argv] if core is not None and shutil.which("taskset") else argv
    return subprocess.Popen(pinned, env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def measure(side: Any, spans: int, senders: int) -> dict[str, Any]:
    """Send, count, ask."""
    process = psutil.Process(side.process.pid)
    headers = {**side.headers, "content-type": "application/x-protobuf"}
    asyncio.run(send(side.url + side.path, headers, payloads(0, 1000, 1000, 0), senders))  # warm
    seconds, used, sent, waits = 0.0, 0.0, 0, 0
    times: list[float] = []
    for first in range(0, spans, CHUNK):
        bodies = payloads(first, min(first + CHUNK, spans), spans, 1)
        sent += sum(map(len, bodies))
        before = _cpu(process)
        took, acknowledgements, waited = asyncio.run(send(side.url + side.path, headers, bodies, senders))
        seconds, times, waits = seconds + took, times + acknowledgements, waits + waited
        used += _cpu(process) - before
    acknowledged = time.perf_counter()
    while side.stored() < spans + 1000:
        time.sleep(0.5)
        if time.perf_counter() - acknowledged > 600:
            break
    late = time.perf_counter() - acknowledged
    report = {
        "spans": spans,
        "bytes_a_span_sent": round(sent / spans),
        "spans_per_s": round(spans / (seconds + (late if late > 1 else 0))),
        "found": side.stored() - 1000,
        "cpu_us_a_span": round(used / spans * 1e6, 1),
        "ack_ms": {"p50": quantile(times, 0.5), "p99": quantile(times, 0.99), "max": round(max(times), 1)},
        "asked_to_wait": waits,
        "bytes_a_span_stored": round(_size(side.folder) / (spans + 1000)),
        "of_it_write_ahead_log": round(sum(p.stat().st_size for p in side.folder.rglob("*-wal")) / (spans + 1000)),
        "memory_mb": round(sum(p.memory_info().rss for p in [process, *process.children(recursive=True)]) / 1e6),
    }
    asked = side.queries()
    if asked:
        report["query_ms"] = {name: ask(side, **query) for name, query in asked.items()}
    return report


def ask(side: Any, path: str, params: dict[str, Any], rounds: int = 15) -> dict[str, float]:
    """Time one query over HTTP: first, median and slowest of the rest."""
    with httpx.Client(base_url=side.url, headers=side.headers, timeout=120) as client:
        client.get("/api/health")
        times = []
        for _ in range(rounds):
            began = time.perf_counter()
            client.get(path, params=params).raise_for_status()
            times.append((time.perf_counter() - began) * 1000)
    return {
        "first": round(times[0], 1),
        "median": round(statistics.median(times[1:]), 1),
        "max": round(max(times[1:]), 1),
    }


def _cpu(process: psutil.Process) -> float:
    found = 0.0
    for one in [process, *process.children(recursive=True)]:
        used = one.cpu_times()
        found += used.user + used.system
    return found


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Start, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spans", type=int, default=100_000)
    parser.add_argument("--senders", type=int, default=8)
    parser.add_argument("--peer", choices=["tidemill", "phoenix", "mlflow"], default="tidemill")
    parser.add_argument("--no-pin", action="store_true", help="Do not pin server and sender to cores.")
    arguments = parser.parse_args()
    core = None if arguments.no_pin or (os.cpu_count() or 1) < 2 else 0
    if core is not None:
        os.sched_setaffinity(0, {1})
    with tempfile.TemporaryDirectory() as folder:
        sides = {"tidemill": Tidemill, "phoenix": phoenix, "mlflow": mlflow}
        side = sides[arguments.peer](Path(folder), core)
        try:
            print(json.dumps({arguments.peer: measure(side, arguments.spans, arguments.senders)}, indent=2))
        finally:
            side.process.terminate()
            side.process.wait(timeout=60)


if __name__ == "__main__":
    main()
