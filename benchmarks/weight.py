"""What Tidemill weighs before it does anything: seconds until a command answers, seconds until the server is ready, its
memory at start and after some use, and the processor that it takes when nobody asks for anything.

Every figure of a command is the median of several runs; the first run, which reads the files from disk, is not counted.
`cpu` is the processor time, which says the same on a busy machine as on a quiet one.
Memory is summed over all processes of the server: RSS counts pages that processes share once for each, PSS once in all.
"Some use" is one OTLP request of 100 spans, then requests to list routes in turn.

    python benchmarks/weight.py
    python benchmarks/weight.py --phoenix VENV/bin/python --mlflow VENV/bin/python    # beside the peers

Prints one JSON object. The peers run with the Python they are installed in, on SQLite; without them the figures are
Tidemill's alone. To have them:

    python -m venv phoenix && phoenix/bin/pip install arize-phoenix
    python -m venv mlflow && mlflow/bin/pip install mlflow

Whether the machine was quiet shows in `load`: its average number of running processes before and after.
"""

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil
from span_load import Known, known, payloads, send
from trace_servers import SERVERS, Asked, Server, Tidemill, checked

MB = 2**20
REFUSED = "http://127.0.0.1:9"
"""Nobody listens here."""
SETTLE = 8
"""Seconds after the last request until the idle time begins."""
LISTS = (
    *("prompts", "datasets", "models", "releases", "deployments", "environments", "jobs", "alerts", "monitors", "slos"),
    *("notifiers", "triggers", "pipelines", "pipeline-runs", "gates", "calls", "audit", "traces", "scores", "engines"),
)
"""Routes under /api that a person's pages ask for."""
PEER_COMMANDS: dict[str, dict[str, list[str]]] = {
    "phoenix": {"help": ["-m", "phoenix.server.main", "--help"]},
    "mlflow": {
        "version": ["-m", "mlflow", "--version"],
        "help": ["-m", "mlflow", "--help"],
        "help of a group": ["-m", "mlflow", "experiments", "--help"],
    },
}


def seconds(argv: Sequence[str], env: Mapping[str, str], runs: int, status: int = 0) -> dict[str, float]:
    """Median wall and processor time of a command. Raises RuntimeError when it ends with another status."""
    times, used = [], []
    for _ in range(runs + 1):
        began, before = time.perf_counter(), _children()
        done = subprocess.run(argv, env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        times.append(time.perf_counter() - began)
        used.append(_children() - before)
        if done.returncode != status:
            raise RuntimeError(f"{argv}: status {done.returncode}: {done.stderr.decode(errors='replace')[-500:]}")
    return {"wall": round(statistics.median(times[1:]), 3), "cpu": round(statistics.median(used[1:]), 3)}


def _children() -> float:
    """Processor time of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def tidemill_commands(python: str, folder: Path, runs: int) -> dict[str, dict[str, float]]:
    """Seconds of commands that talk to no server."""
    command = [python, "-m", "tidemill"]
    home = {"TIDEMILL_HOME": str(folder / "home")}
    return {
        "version": seconds([*command, "--version"], home, runs),
        "help": seconds([*command, "--help"], home, runs),
        "help of a group": seconds([*command, "prompts", "--help"], home, runs),
        "list, no server at the address": seconds(
            [*command, "prompts", "list"], home | {"TIDEMILL_URL": REFUSED}, runs, status=1
        ),
        "list, embedded": seconds([*command, "prompts", "list"], home, runs),
    }


def tree(server: Server) -> list[psutil.Process]:
    """The server's processes."""
    root = psutil.Process(server.process.pid)
    return [root, *root.children(recursive=True)]


def memory(server: Server) -> dict[str, float]:
    """Memory of the server's processes in MiB."""
    infos = [process.memory_full_info() for process in tree(server)]
    return {
        "processes": len(infos),
        "rss_mb": round(sum(one.rss for one in infos) / MB, 1),
        "pss_mb": round(sum(one.pss for one in infos) / MB, 1),
    }


def idle(server: Server, duration: float) -> dict[str, float]:
    """Percent of one core, and how often a second some thread wakes up, while nobody asks for anything."""
    time.sleep(SETTLE)
    processes = tree(server)
    began, used, woken = time.monotonic(), _used(processes), _woken(processes)
    time.sleep(duration)
    took = time.monotonic() - began
    return {
        "percent_of_a_core": round((_used(processes) - used) / took * 100, 2),
        "wakes_a_second": round((_woken(processes) - woken) / took, 1),
    }


def _used(processes: Sequence[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def _woken(processes: Sequence[psutil.Process]) -> int:
    """Voluntary context switches of all threads. 0 where there is no /proc."""
    lines = [
        line
        for process in processes
        for status in Path(f"/proc/{process.pid}/task").glob("*/status")
        for line in status.read_text().splitlines()
    ]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))


def asked_for(server: Server, known_ids: Known) -> list[Asked]:
    """What a person's pages ask the server for."""
    if isinstance(server, Tidemill):
        return [("GET", f"/api/{name}", {}) for name in LISTS]
    return [one for group in server.queries(known_ids).values() for one in group]


def use(server: Server, count: int) -> None:
    """Send some spans, then so many requests."""
    body, known_ids = payloads(0, 100, 100), known(0)
    headers = {**server.headers, "content-type": "application/x-protobuf"}
    before = server.stored()
    asyncio.run(send(server.url + server.path, headers, body, 1))
    for _ in range(300):
        if server.stored() >= before + 100:
            break
        time.sleep(0.1)
    else:
        raise RuntimeError("the spans were not stored")
    queries = asked_for(server, known_ids)
    with httpx.Client(base_url=server.url, headers=server.headers, timeout=120) as client:
        for number in range(count):
            method, path, data = queries[number % len(queries)]
            reply = client.get(path, params=data) if method == "GET" else client.post(path, json=data)
            checked(reply)


def weigh(name: str, python: str, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Start the server several times, use it once."""
    began = time.perf_counter()
    server = SERVERS[name](folder, None, python)
    first = time.perf_counter() - began
    try:
        starts, used = [], []
        for _ in range(arguments.runs):
            server.stop()
            began = time.perf_counter()
            server.start()
            starts.append(time.perf_counter() - began)
            used.append(_used(tree(server)))
        time.sleep(2)
        at_start = memory(server)
        resting = idle(server, arguments.idle)
        use(server, arguments.requests)
        figures = {
            "first_start_s": round(first, 2),
            "start_s": {"wall": round(statistics.median(starts), 2), "cpu": round(statistics.median(used), 2)},
            "at_start": at_start,
            "idle_before_use": resting,
            "after_use": memory(server),
            "idle": idle(server, arguments.idle),
            "after_idle": memory(server),
        }
        if isinstance(server, Tidemill):
            argv, home = [python, "-m", "tidemill", "prompts", "list"], {"TIDEMILL_HOME": str(folder)}
            figures["list_from_the_server_s"] = seconds(argv, home, arguments.runs)
        return figures
    finally:
        server.stop()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="the Python that Tidemill is installed in")
    parser.add_argument("--phoenix", help="a Python with arize-phoenix")
    parser.add_argument("--mlflow", help="a Python with mlflow")
    parser.add_argument("--runs", type=int, default=5, help="runs of each command and starts of each server")
    parser.add_argument("--requests", type=int, default=50, help="requests before memory is looked at again")
    parser.add_argument("--idle", type=float, default=30, help="seconds of idle time")
    arguments = parser.parse_args()
    peers = {name: getattr(arguments, name) for name in PEER_COMMANDS if getattr(arguments, name)}
    for name in PEER_COMMANDS.keys() - peers.keys():
        sys.stderr.write(f"Not measured: {name}. Install it in a venv of its own and give --{name} VENV/bin/python.\n")
    # What is installed has its bytecode: so have all that are measured, from their second run on.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    load = [round(os.getloadavg()[0], 1)]
    result: dict[str, Any] = {"load": load}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        result["tidemill"] = {
            "commands_s": tidemill_commands(arguments.python, folder, arguments.runs),
            "server": weigh("tidemill", arguments.python, folder / "tidemill", arguments),
        }
        for name, python in peers.items():
            commands = {key: seconds([python, *argv], {}, arguments.runs) for key, argv in PEER_COMMANDS[name].items()}
            result[name] = {"commands_s": commands, "server": weigh(name, python, folder / name, arguments)}
    load.append(round(os.getloadavg()[0], 1))
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
