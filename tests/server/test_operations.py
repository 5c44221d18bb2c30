"""What an operator sees of the server, with and without one: commands, probes and metrics."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.deployments.live import LiveServer
from tidemill.core import server_lock
from tidemill.core.actors import OWNER
from tidemill.core.http import InProcessTransport
from tidemill.core.settings import Settings
from tidemill.server import health, operations
from tidemill.server.app import Application, build


def run(home: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "TIDEMILL_HOME": str(home), **environment}
    command = [sys.executable, "-m", "tidemill", *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


def as_json(result: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(result.stdout)


@pytest.fixture
def application(home: Path) -> Any:
    application = build(Settings(home=home))
    yield application
    application.kernel.close()


def ask(application: Application, path: str, method: str = "GET") -> httpx.Response:
    with httpx.Client(base_url="http://x", transport=InProcessTransport(application.asgi)) as client:
        return client.request(method, path)


def test_probes_name_what_is_wrong_and_need_no_key(application: Application) -> None:
    assert ask(application, "/healthz").json() == ask(application, "/readyz").json() == {"status": "ok", "faults": []}
    assert ask(application, "/healthz", "HEAD").content == b""

    application.kernel.loops["monitors"] = lambda: False
    reply = ask(application, "/healthz")
    assert (reply.status_code, reply.json()) == (503, {"status": "failing", "faults": ["monitors stopped"]})


def test_a_server_without_its_database_is_alive_and_not_ready(application: Application) -> None:
    application.kernel.db.engine.dispose()
    application.kernel.db.engine = _Unreachable()  # type: ignore[assignment]
    assert ask(application, "/healthz").status_code == 200
    reply = ask(application, "/readyz")
    assert (reply.status_code, reply.json()["faults"]) == (503, ["the database does not answer"])


class _Unreachable:
    """An engine whose database has gone."""

    def connect(self) -> Any:
        import sqlalchemy as sa

        raise sa.exc.OperationalError("SELECT 1", {}, Exception("connection refused"))

    def dispose(self) -> None:
        """Nothing is open."""


def test_a_database_that_hangs_holds_one_thread(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PROBE_TIMEOUT_S", 0.05)
    asked, answer = [], threading.Event()

    def hang() -> None:
        asked.append(1)
        answer.wait(60)

    monkeypatch.setattr(application.kernel.db, "ping", hang)
    with httpx.Client(base_url="http://x", transport=InProcessTransport(application.asgi)) as client:
        assert [client.get("/readyz").status_code for _ in range(4)] == [503] * 4
        assert len(asked) == 1
        answer.set()
        deadline = time.monotonic() + 60
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < deadline


def test_metrics_can_be_read_by_prometheus(application: Application) -> None:
    application.kernel.loops['odd "loop" \n'] = lambda: True
    reply = ask(application, "/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(reply.text)}
    assert families["tidemill_info"].samples[0].labels == {"version": "0.1.0"}
    alive = {s.labels["loop"]: s.value for s in families["tidemill_loop_alive"].samples}
    assert alive['odd "loop" \n'] == alive["traces"] == 1
    assert families["tidemill_spans_stored"].type == "counter"
    assert families["process_resident_memory_bytes"].samples[0].value > 1_000_000


def test_status_and_metrics_need_a_key(application: Application) -> None:
    class Stranger(InProcessTransport):
        async def _marked(self, scope, receive, send) -> None:
            await self.app(scope, receive, send)

    with httpx.Client(base_url="http://x", transport=Stranger(application.asgi)) as client:
        assert [client.get(path).status_code for path in ("/metrics", "/api/status")] == [401, 401]
        assert client.get("/healthz").status_code == 200


def test_status_counts_the_jobs(application: Application) -> None:
    from tidemill.jobs.service import JobQueue

    with application.kernel.write(OWNER) as ctx:
        application.kernel.get(JobQueue).submit(ctx, "data.import", {"plan": "{}"})
    status = ask(application, "/api/status").json()
    assert status["jobs"] == {"queued": 1}
    assert status["pid"] == os.getpid()


@pytest.mark.slow
def test_without_a_server_each_command_says_so(home: Path) -> None:
    status = run(home, "status")
    assert (status.returncode, "tidemill up" in status.stdout) == (3, True)
    assert as_json(run(home, "--json", "status"))["running"] is False
    assert (run(home, "down").returncode, "No server runs" in run(home, "down").stdout) == (0, True)
    checks = {check["name"]: check["result"] for check in as_json(run(home, "--json", "doctor", TIDEMILL_PORT="0"))}
    assert checks["database"] == checks["server"] == checks["engine"] == "ok"


@pytest.mark.slow
def test_a_server_is_seen_and_ended(home: Path) -> None:
    server = LiveServer(home)
    server.start()
    try:
        status = run(home, "status")
        assert status.returncode == 0, status.stderr
        assert server.url in status.stdout
        report = as_json(run(home, "--json", "status"))["server"]
        assert set(report["loops"]) >= {"jobs", "engines", "monitors", "notifications", "online-evals", "rollouts"}
        assert all(report["loops"].values())
        assert httpx.get(f"{server.url}/readyz").json() == {"status": "ok", "faults": []}
        ended = run(home, "down")
        assert (ended.returncode, "It has ended." in ended.stdout) == (0, True)
        assert server_lock.find(home) is None
    finally:
        server.stop()


@pytest.mark.slow
def test_a_server_that_does_not_end_is_said(home: Path) -> None:
    server = LiveServer(home)
    server.start()
    pid = server_lock.find(home).pid  # type: ignore[union-attr]
    os.kill(pid, signal.SIGSTOP)
    try:
        stuck = run(home, "down", "--timeout", "1")
        assert (stuck.returncode, f"kill -9 {pid}" in stuck.stderr) == (1, True)
    finally:
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.1)
        server.stop()


@pytest.mark.slow
def test_the_doctor_finds_what_is_wrong(home: Path) -> None:
    home.mkdir()
    home.chmod(0o755)
    result = run(home, "--json", "doctor", TIDEMILL_DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing")
    found = {check["name"]: check for check in as_json(result)}
    assert result.returncode == 1
    assert found["home"]["result"] == "warning"
    assert "chmod 700" in found["home"]["hint"]
    assert found["database"]["result"] == "fault"


@pytest.mark.slow
@pytest.mark.parametrize("url", ["foo", "mysql://x/y", "http://[", "postgresql:"])
def test_the_doctor_says_what_is_wrong_with_a_url(home: Path, url: str) -> None:
    result = run(home, "--json", "doctor", TIDEMILL_DATABASE_URL=url)
    assert result.returncode == 1, result.stderr
    assert {check["name"]: check["result"] for check in as_json(result)}["database"] == "fault"


def test_the_doctor_knows_a_damaged_database(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir(mode=0o700)
    (home / "tidemill.db").write_bytes(b"no database at all" * 100)
    checks = {check.name: check for check in operations._check_database(Settings(home=home))}
    assert checks["database"].result == "fault"
    assert "not a database" in checks["database"].what


def test_a_process_of_another_machine_is_not_stopped(home: Path) -> None:
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        with server_lock.acquire(home):
            address = server_lock.ServerAddress(url="http://x:1", pid=bystander.pid, token="t", machine="another")
            server_lock.publish(home, address)
            result = run(home, "down")
        assert (result.returncode, "another machine" in result.stderr) == (1, True)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
