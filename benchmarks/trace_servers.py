"""Servers that take the same spans: Tidemill, Arize Phoenix and MLflow, each in a folder of its own, and how each is
asked for what a person looks at. The peers run with the Python they are installed in, with SQLite, and without their
reports to their makers."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import httpx
from span_load import Known

Asked = tuple[str, str, dict[str, Any]]
"""Method, path, and parameters (of a GET) or body (of a POST)."""
Queries = dict[str, list[Asked]]
"""What a page shows, and the requests it takes. Pages of the same name show the same, as far as a server can."""

DAY = timedelta(hours=24)
WEEK = timedelta(days=7)


class Server:
    """One server that can be started again in the same folder."""

    path = "/v1/traces"

    def __init__(self, folder: Path, argv: list[str], env: dict[str, str], core: int | None) -> None:
        self.folder = folder
        self.headers: dict[str, str] = {}
        self.url = ""
        self._argv = ["taskset", "-c", str(core), *argv] if core is not None and shutil.which("taskset") else argv
        self._env = {**os.environ, **env}
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            self._argv, env=self._env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def _wait(self) -> None:
        for _ in range(3600):
            if self.ready():
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError(f"{self._argv} did not start")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it with all its processes."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, how)
            self.process.wait(timeout=60)

    def ready(self) -> bool:
        """Whether it answers."""
        raise NotImplementedError

    def stored(self) -> int:
        """Spans that its own interface finds."""
        raise NotImplementedError

    def queries(self, trace: Known) -> Queries:
        """What a person looks at, over HTTP. `sent` is a trace that it has."""
        raise NotImplementedError

    def get(self, path: str, params: dict[str, Any] | None = None) -> Any:
        """The answer to a GET."""
        reply = httpx.get(f"{self.url}{path}", params=params, headers=self.headers, timeout=120)
        return checked(reply).json()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The answer to a POST."""
        reply = httpx.post(f"{self.url}{path}", json=body, headers=self.headers, timeout=120)
        return checked(reply).json()


class Tidemill(Server):
    """A Tidemill server."""

    def __init__(self, folder: Path, core: int | None, python: str = sys.executable) -> None:
        self.home = folder
        argv = [python, "-m", "tidemill", "up", "--port", "0"]
        super().__init__(folder / "traces", argv, {"TIDEMILL_HOME": str(folder)}, core)

    def ready(self) -> bool:
        from tidemill.core import server_lock

        live = server_lock.find(self.home)
        if live is None:
            return False
        self.url, self.headers = live.url, {"authorization": f"Bearer {live.token}"}
        return True

    def stored(self) -> int:
        return sum(day["spans"] for day in self.get("/api/traces/days"))

    def queries(self, trace: Known) -> Queries:
        now = datetime.now(UTC)
        day, week = {"since": (now - DAY).isoformat()}, {"since": (now - WEEK).isoformat(), "grain": "day"}
        middle = {"until": (now - timedelta(hours=10)).isoformat(), "limit": 50}
        rare_call = {"limit": 50, "model": "llama-8b", "min_ms": 2999.9}
        failed = {"limit": 50, "model": "support@3", "status": "error", "kind": "llm"}
        grouped: dict[str, tuple[str, dict[str, Any]]] = {
            f"series by {by}, {name}": ("/series", {**when, "by": by})
            for by in ("model", "release", "prompt", "environment", "deployment", "key", "user")
            for name, when in (("24 h", day), ("7 d", week))
        }
        requests: dict[str, tuple[str, dict[str, Any]]] = {
            "dashboard": ("/series", {**day, "measure": "traces"}),
            "dashboard by model": ("/series", {**day, "by": "model"}),
            "dashboard, 7 d": ("/series", week),
            **grouped,
            "series of one user": ("/series", {**day, "by": "user", "key": "user-7"}),
            "list": ("", {"limit": 50}),
            **{name: ("", {"limit": 50, "cursor": cursor}) for name, cursor in self._cursors().items()},
            "list, from the middle": ("", middle),
            "list of one user": ("", {"limit": 50, "user": "user-7"}),
            "list of failed calls": ("", {"limit": 50, "status": "error", "kind": "llm"}),
            "list of failed calls of a model": ("", failed),
            "list of a rare kind": ("", rare_call),
            "list of what no call is": ("", {"limit": 50, "min_ms": 1e9}),
            "list with a rare word": ("", {"text": trace.rare}),
            "list with a common word": ("", {"text": "refund", "limit": 50}),
            "search": ("/search", {"text": trace.rare}),
            "search, two common words": ("/search", {"text": "refund monday", "limit": 50}),
            "list of one user with a common word": ("", {"text": "refund", "user": "user-7", "limit": 50}),
            "search, one user and a common word": ("/search", {"text": "refund", "user": "user-7", "limit": 50}),
            "search, a rare kind and a common word": ("/search", {"text": "refund", "min_ms": 2999.9, "limit": 50}),
            "search, failed with a common word": ("/search", {"text": "refund", "status": "error", "limit": 50}),
            "tree": (f"/{trace.trace_id}", {}),
            "tree with payload": (f"/{trace.trace_id}", {"payload": True}),
            "response by id": (f"/responses/{trace.response_id}", {}),
            "sessions": ("/sessions", {"limit": 50}),
            "sessions of one user": ("/sessions", {"limit": 50, "user": "user-7"}),
            "users": ("/users", {"limit": 50}),
            "callers of a model": ("/callers", {"model": "support@3"}),
        }
        return {name: [("GET", f"/api/traces{path}", params)] for name, (path, params) in requests.items()}

    def _cursors(self) -> dict[str, str]:
        """Where a later page of 50 begins."""
        cursors, cursor = {}, None
        for number in range(2, 41):
            cursor = self.get("/api/traces", {"limit": 50} | ({"cursor": cursor} if cursor else {}))["next_cursor"]
            if cursor is None:
                break
            cursors[f"list, page {number}"] = cursor
        return {name: place for name, place in cursors.items() if name in ("list, page 2", "list, page 40")}


class Phoenix(Server):
    """Arize Phoenix on SQLite. Its pages ask by GraphQL."""

    def __init__(self, folder: Path, core: int | None, python: str) -> None:
        port = free_port()
        env = {
            "PHOENIX_WORKING_DIR": str(folder),
            "PHOENIX_PORT": str(port),
            "PHOENIX_GRPC_PORT": str(free_port()),
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_TELEMETRY_ENABLED": "false",
        }
        self._url = f"http://127.0.0.1:{port}"
        super().__init__(folder, [python, "-m", "phoenix.server.main", "serve"], env, core)

    def ready(self) -> bool:
        self.url = self._url
        return answers(self.url + "/healthz")

    def stored(self) -> int:
        data = self._ask("{projects {edges {node {recordCount}}}}")
        return sum(edge["node"]["recordCount"] for edge in data["projects"]["edges"])

    def _ask(self, query: str) -> Any:
        reply = self.post("/graphql", {"query": query})
        if reply.get("errors"):
            raise RuntimeError(reply["errors"])
        return reply["data"]

    def queries(self, trace: Known) -> Queries:
        (project,) = [
            edge["node"]["id"]
            for edge in self._ask("{projects {edges {node {id recordCount}}}}")["projects"]["edges"]
            if edge["node"]["recordCount"]
        ]
        now = datetime.now(UTC)
        times = f'timeRange: {{start: "{(now - DAY).isoformat()}", end: "{now.isoformat()}"}}'
        bins = "timeBinConfig: {scale: HOUR}"
        span = """edges {node {id spanId name spanKind startTime latencyMs statusCode tokenCountTotal input {value}
            output {value} trace {id traceId}}}"""
        newest = "first: 50, sort: {col: startTime, dir: desc}"
        tree = "spanId parentId name spanKind startTime latencyMs statusCode tokenCountTotal"
        of_project = {
            "dashboard": f"""traceCountByStatusTimeSeries({times}, {bins}) {{data {{timestamp errorCount totalCount}}}}
                traceLatencyMsPercentileTimeSeries({times}, {bins}) {{data {{timestamp p50 p90 p99}}}}
                traceTokenCountTimeSeries({times}, {bins})
                {{data {{timestamp promptTokenCount completionTokenCount}}}}""",
            "dashboard by model": f"topModelsByTokenCount({times}) {{name}}",
            "list": f'spans({newest}, filterCondition: "parent_id is None") {{{span}}}',
            "list of failed calls": f"""spans({newest}, filterCondition: "status_code == 'ERROR' and name == 'chat'")
                {{{span}}}""",
            "search": f"""spans({newest}, filterCondition: "'{trace.rare}' in input.value") {{{span}}}""",
        }
        requests = {name: f'{{node(id: "{project}") {{... on Project {{{q}}}}}}}' for name, q in of_project.items()}
        for name, more in (("tree", ""), ("tree with payload", "attributes input {value} output {value}")):
            requests[name] = f"""{{getTraceByOtelId(traceId: "{trace.trace_id}")
                {{traceId spans(first: 1000) {{edges {{node {{{tree} {more}}}}}}}}}}}"""
        for query in requests.values():
            self._ask(query)  # GraphQL answers 200 with errors: they are to be seen
        return {name: [("POST", "/graphql", {"query": query})] for name, query in requests.items()}


class MLflow(Server):
    """MLflow's tracking server on SQLite."""

    def __init__(self, folder: Path, core: int | None, python: str) -> None:
        port = free_port()
        argv = [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        argv += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
        argv += ["--artifacts-destination", str(folder / "files")]
        env = {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "PATH": f"{Path(python).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        }
        self._url = f"http://127.0.0.1:{port}"
        super().__init__(folder, argv, env, core)

    def ready(self) -> bool:
        self.url, self.headers = self._url, {"x-mlflow-experiment-id": "0"}
        return answers(self.url + "/health")

    def stored(self) -> int:
        points = self.post(*_metric("SPANS", "span_count", ["COUNT"])[1:])["data_points"]
        return round(sum(value for point in points for value in point["values"].values()))

    def queries(self, trace: Known) -> Queries:
        now = time.time_ns() // 1_000_000
        hours = {"time_interval_seconds": 3600, "start_time_ms": now - 86_400_000, "end_time_ms": now}
        searched = {"locations": [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}],
                    "order_by": ["timestamp_ms DESC"], "max_results": 50}  # fmt: skip

        def search(where: str | None) -> list[Asked]:
            return [("POST", "/api/3.0/mlflow/traces/search", searched | ({"filter": where} if where else {}))]

        tree: Asked = ("GET", "/api/3.0/mlflow/traces/get", {"trace_id": f"tr-{trace.trace_id}"})
        return {
            "dashboard": [
                _metric("TRACES", "trace_count", ["COUNT"], **hours, dimensions=["trace_status"]),
                _metric("TRACES", "latency", [50, 90, 99], **hours),
                _metric("TRACES", "input_tokens", ["SUM"], **hours),
                _metric("TRACES", "output_tokens", ["SUM"], **hours),
            ],
            # It has no latencies by model.
            "dashboard by model": [_metric("SPANS", "span_count", ["COUNT"], **hours, dimensions=["span_model_name"])],
            "list": search(None),
            "list of failed calls": search("span.name = 'chat' AND span.status = 'ERROR'"),
            "search": search(f"trace.text LIKE '%{trace.rare}%'"),
            "tree with payload": [tree],
        }


def _metric(view: str, metric: str, percentiles: list[str | int], **more: Any) -> Asked:
    aggregations = [
        {"aggregation_type": one}
        if isinstance(one, str)
        else {"aggregation_type": "PERCENTILE", "percentile_value": one}
        for one in percentiles
    ]
    body = {"experiment_ids": ["0"], "view_type": view, "metric_name": metric, "aggregations": aggregations, **more}
    return "POST", "/api/3.0/mlflow/traces/metrics", body


class Made(Protocol):
    """Makes a server in a folder, pinned to a core, with a Python."""

    def __call__(self, folder: Path, core: int | None, python: str) -> Server: ...


SERVERS: dict[str, Made] = {"tidemill": Tidemill, "phoenix": Phoenix, "mlflow": MLflow}


def checked(reply: httpx.Response) -> httpx.Response:
    """The reply, when it is a good one."""
    if reply.status_code >= 400:
        raise RuntimeError(f"{reply.request.method} {reply.request.url}: {reply.status_code} {reply.text[:500]}")
    return reply


def answers(url: str) -> bool:
    """Whether a server is there and says that all is well."""
    try:
        return httpx.get(url, timeout=5).status_code < 400
    except httpx.TransportError:
        return False


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
