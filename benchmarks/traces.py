"""Span intake and queries of a real server: spans/s that are durable and queryable, bytes a span, acknowledgement
times, spans lost when the server is killed, and query times over HTTP, with roll-ups and search on.

One server process is pinned to one core, the sender to another. Requests are OTLP/HTTP protobuf, 100 spans of some
2.2 KB each, in traces of five; the text is varied English (`span_load.py`). A span counts when its request was answered
with 200 and it is found again by the server's own interface. The time to make the requests is not counted. At the end
more spans are sent, the server is killed (SIGKILL) as soon as the last is acknowledged, started again and asked how
many of them it has.

    python benchmarks/traces.py --spans 1000000 --senders 4
    python benchmarks/traces.py --spans 1000000 --home FOLDER     # keep the store ...
    python benchmarks/traces.py --spans 0 --home FOLDER           # ... and only ask it again
    python benchmarks/traces.py --spans 20000 --peer phoenix --python VENV/bin/python   # with arize-phoenix
    python benchmarks/traces.py --spans 20000 --peer mlflow --python VENV/bin/python    # with mlflow

With a peer the same spans are sent to it and to Tidemill, and the ratios are given. Prints one JSON object.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
from span_load import HOURS, Known, known, payloads, send
from trace_servers import SERVERS, Asked, Server, checked

CHUNK = 50_000
"""So many spans are made before they are sent."""
WARM = 1000
KILLED = 5000
"""Spans that are sent before the server is killed."""
PATIENCE = 600
"""Seconds until spans that were acknowledged must be found."""


def quantile(values: list[float], share: float) -> float:
    """The value below which a share lies."""
    return round(sorted(values)[min(int(len(values) * share), len(values) - 1)], 2)


def fill(server: Server, spans: int, senders: int, hours: float) -> dict[str, Any]:
    """Send spans and find them again."""
    process = psutil.Process(server.process.pid)
    url, headers = server.url + server.path, {**server.headers, "content-type": "application/x-protobuf"}
    before = server.stored()
    asyncio.run(send(url, headers, payloads(0, WARM, WARM, 0), senders))
    wait_for(server, before + WARM)
    seconds, used, sent_bytes, waits = 0.0, 0.0, 0, 0
    times: list[float] = []
    for first in range(0, spans, CHUNK):
        bodies = payloads(first, min(first + CHUNK, spans), spans, hours=hours)
        sent_bytes += sum(map(len, bodies))
        begun = cpu(process)
        took, acknowledgements, waited = asyncio.run(send(url, headers, bodies, senders))
        seconds, times, waits = seconds + took, times + acknowledgements, waits + waited
        used += cpu(process) - begun
    begun = cpu(process)
    late = wait_for(server, before + WARM + spans)
    used += cpu(process) - begun
    stored_spans = server.stored()
    return {
        "spans": spans,
        "bytes_a_span_sent": round(sent_bytes / spans),
        "spans_per_s": round(spans / (seconds + late)),
        "found": stored_spans - WARM - before,
        "found_after_the_last_answer_s": round(late, 2),
        "cpu_us_a_span": round(used / spans * 1e6, 1),
        "ack_ms": {"p50": quantile(times, 0.5), "p99": quantile(times, 0.99), "max": round(max(times), 1)},
        "asked_to_wait": waits,
        "bytes_a_span_stored": round(size(server.folder) / stored_spans),
        "of_it_write_ahead_log": round(size(server.folder, "*-wal") / stored_spans),
        "memory_mb": round(sum(p.memory_info().rss for p in [process, *process.children(recursive=True)]) / 1e6),
    }


def wait_for(server: Server, spans: int) -> float:
    """Wait until so many spans are found; returns the seconds it took."""
    begun = time.perf_counter()
    while server.stored() < spans:
        time.sleep(0.5)
        if time.perf_counter() - begun > PATIENCE:
            break
    took = time.perf_counter() - begun
    return took if took > 0.5 else 0.0  # one look alone is no wait


def lost(server: Server, senders: int) -> int:
    """Spans that were acknowledged and are not there after a kill. Starts the server again."""
    before = server.stored()
    headers = {**server.headers, "content-type": "application/x-protobuf"}
    asyncio.run(send(server.url + server.path, headers, payloads(0, KILLED, KILLED, 2), senders))
    server.stop(signal.SIGKILL)
    server.start()
    return before + KILLED - server.stored()


def ask(server: Server, requests: list[Asked], rounds: int) -> dict[str, float]:
    """Time the requests of one page: first, median and slowest of the rest, in ms; the server's processor time for it,
    which load does not spoil; and the bytes of the answers."""
    times, answered = [], 0
    process = psutil.Process(server.process.pid)
    used = cpu(process)
    with httpx.Client(base_url=server.url, headers=server.headers, timeout=300) as client:
        client.get("/nothing")  # the connection
        for _ in range(rounds):
            begun, answered = time.perf_counter(), 0
            for method, path, values in requests:
                arguments: dict[str, Any] = {"params": values} if method == "GET" else {"json": values}
                answered += len(checked(client.request(method, path, **arguments)).content)
            times.append((time.perf_counter() - begun) * 1000)
            if sum(times) > 20_000 and len(times) > 1:
                break
    later = times[1:] or times
    return {
        "first": round(times[0], 1),
        "median": round(statistics.median(later), 1),
        "max": round(max(later), 1),
        "cpu": round((cpu(process) - used) * 1000 / len(times), 1),
        "bytes": answered,
    }


def measure(server: Server, trace: Known, arguments: argparse.Namespace) -> dict[str, Any]:
    """Send, count, ask, kill."""
    report: dict[str, Any] = {}
    if arguments.spans:
        report |= fill(server, arguments.spans, arguments.senders, arguments.hours)
    pages = server.queries(trace)
    report["query_ms"] = {name: ask(server, page, arguments.rounds) for name, page in pages.items()}
    if arguments.spans:
        report[f"lost_of_{KILLED}_by_a_kill"] = lost(server, arguments.senders)
        spans = server.stored()
        server.stop()  # which writes its log, of a fixed size and in a small store most of the disk, into the rest
        report["bytes_a_span_at_rest"] = round(size(server.folder) / spans)
    return report


def ratios(own: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """How many times more spans, less work, fewer bytes and less waiting than the peer."""

    def times(great: float, small: float) -> float:
        return round(great / small, 1) if small else float("inf")

    pages = {name: timings["median"] for name, timings in other["query_ms"].items() if name in own["query_ms"]}
    return {
        "spans_per_s": times(own["spans_per_s"], other["spans_per_s"]),
        "cpu_us_a_span": times(other["cpu_us_a_span"], own["cpu_us_a_span"]),
        "bytes_a_span_stored": times(other["bytes_a_span_stored"], own["bytes_a_span_stored"]),
        "bytes_a_span_at_rest": times(other["bytes_a_span_at_rest"], own["bytes_a_span_at_rest"]),
        "query_ms": {name: times(took, own["query_ms"][name]["median"]) for name, took in pages.items()},
    }


def cpu(process: psutil.Process) -> float:
    """Seconds of processor time of a process and those it started."""
    used = [one.cpu_times() for one in [process, *process.children(recursive=True)]]
    return sum(one.user + one.system for one in used)


def size(folder: Path, pattern: str = "*") -> int:
    """Bytes of the files."""
    return sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file())


def main() -> None:
    """Start, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spans", type=int, default=100_000)
    parser.add_argument("--hours", type=float, default=HOURS, help="The spans are spread over so many hours.")
    parser.add_argument("--senders", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=15, help="How often each page is asked for.")
    parser.add_argument("--peer", choices=["phoenix", "mlflow"], help="Measure this one beside Tidemill.")
    parser.add_argument("--python", default=sys.executable, help="The Python that the peer is installed in.")
    parser.add_argument("--home", type=Path, help="Tidemill's home folder, kept; default: a temporary one.")
    parser.add_argument("--no-pin", action="store_true", help="Do not pin server and sender to cores.")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a benchmark that is ended ends its servers
    core = None if arguments.no_pin or (os.cpu_count() or 1) < 2 else 0
    if core is not None:
        os.sched_setaffinity(0, {1})
    trace = known(max(arguments.spans - 1, 0) // 2 // CHUNK * CHUNK)
    report: dict[str, Any] = {}
    for name in ("tidemill", arguments.peer) if arguments.peer else ("tidemill",):
        with tempfile.TemporaryDirectory() as folder:
            is_tidemill = name == "tidemill"
            home = arguments.home if is_tidemill and arguments.home else Path(folder)
            server = SERVERS[name](home, core, sys.executable if is_tidemill else arguments.python)
            try:
                report[name] = measure(server, trace, arguments)
            finally:
                server.stop()
    if arguments.peer and arguments.spans:
        report[f"times_{arguments.peer}"] = ratios(report["tidemill"], report[arguments.peer])
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
