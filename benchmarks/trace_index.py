"""What it costs to store spans in one day and to look them up again, without HTTP: for choices about its indexes.

Spans are made beforehand, 20,000 at a time, and stored in commits of some 800. Processor time is that of this process
and, with PostgreSQL, of all processes of its server. A day is filled to its end, so that the last figures are those of
a large day. The words of spans are indexed, and every commit waits for the disk.

    python benchmarks/trace_index.py --spans 1000000
    python benchmarks/trace_index.py --spans 1000000 --database postgres    # starts a server of its own
    nice -n -5 taskset -c 1 python benchmarks/trace_index.py --spans 3000000

Prints one JSON object: microseconds of processor time and of wall time for each span, over all and by 100,000 spans;
how long commits take; bytes for each span; and what lookups cost at the end.
"""

import argparse
import gc
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from span_load import text

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.postgres import Postgres

from tidemill.core.db import Database
from tidemill.core.settings import Settings
from tidemill.traces.store import TraceStore
from tidemill.traces.types import SpanPayload, SpanRecord, TraceFilter

SEED = 1
MADE_AT_ONCE = 20_000
BUCKET = 100_000
COMMIT = (500, 1000)
"""Spans in one commit: between these, a multiple of 100, as requests of 100 spans that wait together make it."""
TRACE = 5
HOURS = 20
BEGIN_NS = int(datetime(2026, 11, 20, 2, tzinfo=UTC).timestamp()) * 1_000_000_000
MODELS = ("gpt-4o-mini", "support@3", "claude-haiku", "llama-8b")
RESOURCE = {"service.name": "shop", "telemetry.sdk.name": "opentelemetry"}
TEXTS = 20_000
"""Texts that the spans say, each with a number of its own behind it."""
KNOWN = 200
"""Traces, replies, users and sessions that are looked up at the end."""


class DurablePostgres(Postgres):
    """A server that writes as one in production does: it waits for the disk and logs whole pages."""

    options = ("-c", "max_connections=50")

    @property
    def pid(self) -> int:
        """The process of the server."""
        assert self.process is not None
        return self.process.pid


class Load:
    """The spans of one day in the order in which they are sent: traces of five, some of them late."""

    def __init__(self, spans: int) -> None:
        self.spans = spans
        self.known: list[SpanRecord] = []
        self._chance = random.Random(SEED)
        self._texts = [text(self._chance, self._chance.randrange(40, 160)) for _ in range(TEXTS)]
        self._users, self._sessions = max(2000, spans // 500), max(100_000, spans // 10)

    def chunks(self) -> Iterator[list[SpanRecord]]:
        """All spans, so many at once."""
        step_ns = HOURS * 3600 * 1_000_000_000 // self.spans
        for first in range(0, self.spans, MADE_AT_ONCE):
            chunk: list[SpanRecord] = []
            for number in range(first, min(first + MADE_AT_ONCE, self.spans), TRACE):
                chunk += self._trace(BEGIN_NS + number * step_ns - self._below(60_000_000_000))
            seconds = chunk[1::TRACE]
            share = max(1, KNOWN * MADE_AT_ONCE // self.spans)
            self.known += self._chance.sample(seconds, min(share, len(seconds)))
            yield chunk

    def commits(self, chunk: Sequence[SpanRecord]) -> Iterator[Sequence[SpanRecord]]:
        """A chunk in the portions that are stored at once."""
        at = 0
        while at < len(chunk):
            size = self._chance.randrange(*COMMIT, 100)
            yield chunk[at : at + size]
            at += size

    def _below(self, limit: int) -> int:
        return int(self._chance.random() * limit)  # a third of the time of `randrange`

    def _text(self) -> str:
        return f"{self._texts[self._below(TEXTS)]} reference {self._below(10**8)}"

    def _trace(self, begin_ns: int) -> Iterator[SpanRecord]:
        trace_id = self._chance.randbytes(16)
        ids = [self._chance.randbytes(8) for _ in range(TRACE)]
        user, session = f"user-{self._below(self._users)}", f"session-{self._below(self._sessions)}"
        for at in range(TRACE):
            call = at in (1, 3)
            payload = SpanPayload(
                input=[{"role": "user", "content": self._text()}] if call else self._text(),
                output=[{"role": "assistant", "content": self._text()}] if call else self._text(),
                attributes={"tag": self._text(), "gen_ai.request.temperature": 0.2},
                resource=RESOURCE,
            )
            yield SpanRecord(
                trace_id=trace_id,
                span_id=ids[at],
                parent_id=ids[0] if at else None,
                name=("agent", "chat", "retrieve", "chat", "tool lookup")[at],
                kind=("agent", "llm", "retriever", "llm", "tool")[at],
                start_ns=begin_ns + at * 30_000_000,
                duration_ns=10**7 + self._below(3 * 10**9),
                status="error" if self._chance.random() < 0.02 else "ok",
                service="shop",
                user=user,
                session=session,
                environment="prod",
                model=MODELS[self._below(len(MODELS))] if call else None,
                response_id="chatcmpl-" + self._chance.randbytes(12).hex() if call else None,
                input_tokens=20 + self._below(880) if call else None,
                output_tokens=5 + self._below(295) if call else None,
                cost_usd=0.001 if call else None,
                payload=payload,
            )


class Clock:
    """Processor time of this process while it runs, and of a server beside it all the time."""

    def __init__(self, server_pid: int | None) -> None:
        self._server = psutil.Process(server_pid) if server_pid is not None else None
        self._own = 0.0
        self._server_begun = self._server_cpu()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what this process does meanwhile."""
        used = time.process_time()
        yield
        self._own += time.process_time() - used

    def cpu(self) -> float:
        """Seconds that were counted until now."""
        return self._own + self._server_cpu() - self._server_begun

    def _server_cpu(self) -> float:
        if self._server is None:
            return 0.0
        times = self._server.cpu_times()
        used = times.user + times.system + times.children_user + times.children_system
        for process in self._server.children():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue  # it has ended since, and is counted in its parent the next time
            used += times.user + times.system
        return used


def fill(store: TraceStore, load: Load, clock: Clock) -> dict[str, Any]:
    """Store all spans; returns what it cost."""
    buckets = [(0, clock.cpu(), 0.0)]
    commits: list[float] = []
    spans, wall = 0, 0.0
    for chunk in load.chunks():
        gc.collect()
        gc.freeze()  # what is made beforehand is no work for the collector while spans are stored
        with clock.running():
            for commit in load.commits(chunk):
                begun = time.perf_counter()
                store.write(commit)
                commits.append(time.perf_counter() - begun)
                wall += commits[-1]
        spans += len(chunk)
        gc.unfreeze()
        if spans % BUCKET == 0 or spans == load.spans:
            buckets.append((spans, clock.cpu(), wall))
            print(json.dumps(cost(buckets[-2], buckets[-1])), file=sys.stderr, flush=True)
    return {
        **cost(buckets[0], buckets[-1]),
        "commit_ms": {"p50": quantile(commits, 0.5), "p99": quantile(commits, 0.99), "max": quantile(commits, 1)},
        "buckets": [cost(*pair) for pair in pairwise(buckets)],
    }


def cost(first: tuple[int, float, float], last: tuple[int, float, float]) -> dict[str, float]:
    """What a span cost between two moments, each given as spans, processor time and wall time until then."""
    spans = (last[0] - first[0]) / 1e6
    return {
        "spans": last[0],
        "cpu_us": round((last[1] - first[1]) / spans, 1),
        "wall_us": round((last[2] - first[2]) / spans, 1),
    }


def lookups(store: TraceStore, load: Load, clock: Clock) -> dict[str, dict[str, float]]:
    """What lookups cost in a full day."""
    page = 51
    questions: dict[str, Callable[[SpanRecord], object]] = {
        "trace": lambda span: store.get_trace(span.trace_id, payload=True, limit=2000),
        "reply": lambda span: store.find_responses([span.response_id or ""], payload=True),
        "user": lambda span: store.list_traces(TraceFilter(user=span.user), limit=page),
        "session": lambda span: store.list_traces(TraceFilter(session=span.session), limit=page),
        "traces": lambda span: store.list_traces(TraceFilter(), limit=page),
        "sessions": lambda span: store.list_sessions(TraceFilter(), limit=page),
        "sent_again": lambda span: store.write([span]) == 0,
    }
    sample = random.Random(SEED).sample(load.known, min(KNOWN, len(load.known)))
    report = {}
    for name, ask in questions.items():
        times, used = [], clock.cpu()
        with clock.running():
            for span in sample:
                begun = time.perf_counter()
                assert ask(span), f"{name}: what was stored is not found"
                times.append(time.perf_counter() - begun)
        cpu_ms = round((clock.cpu() - used) * 1000 / len(sample), 2)
        report[name] = {"cpu_ms": cpu_ms, "p50_ms": quantile(times, 0.5), "p99_ms": quantile(times, 0.99)}
    return report


def quantile(seconds: Sequence[float], share: float) -> float:
    """Milliseconds below which a share lies."""
    return round(sorted(seconds)[min(int(len(seconds) * share), len(seconds) - 1)] * 1000, 2)


@contextmanager
def database(name: str, folder: Path) -> Iterator[tuple[Database, int | None]]:
    """A database to store in, and the process of its server."""
    if name == "sqlite":
        db = Database(f"sqlite:///{folder / 'tidemill.db'}")
        yield db, None
        db.close()
        return
    (folder / "postgres").mkdir()
    folder.chmod(0o755)  # the server runs as another user
    server = DurablePostgres(folder / "postgres")
    server.start()
    try:
        db = Database(server.clone())
        yield db, server.pid
        db.close()
    finally:
        server.stop()


def main() -> None:
    """Store, look up, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spans", type=int, default=200_000)
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--folder", type=Path, help="Where the temporary folder is made; default: the system's.")
    arguments = parser.parse_args()
    gc.set_threshold(50_000, 20, 50)  # as the server does
    with (
        tempfile.TemporaryDirectory(dir=arguments.folder) as folder,
        database(arguments.database, Path(folder)) as (db, server_pid),
    ):
        store, load, clock = TraceStore(Settings(home=Path(folder)), db), Load(arguments.spans), Clock(server_pid)
        report = {"spans": load.spans, "database": arguments.database} | fill(store, load, clock)
        use = store.use(*store.list_days())
        assert use is not None
        report["bytes_a_span"] = round(use.size_bytes / use.spans)
        report["lookups"] = lookups(store, load, clock)
        store.close()
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
