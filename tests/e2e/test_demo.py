"""The demo through the installed command line, killed (-9) three times on its way, and what is in the books after."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tidemill.client import Client
from tidemill.core import presence

pytestmark = [pytest.mark.slow, pytest.mark.tune, pytest.mark.engine, pytest.mark.timeout(900)]

TIDEMILL = shutil.which("tidemill", path=str(Path(sys.executable).parent)) or "tidemill"


class Play:
    """The demo as a process that can be killed."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.env = {**os.environ, "TIDEMILL_HOME": str(home), "COLUMNS": "140"}
        self.log = home.parent / "demo.log"

    def start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as out:
            return subprocess.Popen(
                [TIDEMILL, "demo", "--quick"], env=self.env, stdout=out, stderr=out, start_new_session=True
            )

    def kill_when(self, ready: Callable[[], bool], what: str) -> None:
        """Start, wait for the moment, then kill demo and server without warning."""
        process = self.start()
        try:
            self._wait(ready, what, process)
        finally:
            live = presence.find(self.home)
            for pid in (process.pid, live.pid if live else None):
                if pid is not None and psutil.pid_exists(pid):
                    os.kill(pid, signal.SIGKILL)
            process.wait()
        deadline = time.monotonic() + 30
        while presence.find(self.home) is not None and time.monotonic() < deadline:
            time.sleep(0.1)

    def _wait(self, ready: Callable[[], bool], what: str, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 420
        while not ready():
            assert process.poll() is None, f"the demo ended before {what}:\n{self.tail()}"
            assert time.monotonic() < deadline, f"no {what} in time:\n{self.tail()}"
            time.sleep(0.1)

    def finish(self) -> str:
        process = self.start()
        assert process.wait(timeout=600) == 0, self.tail()
        return self.log.read_text(encoding="utf-8")

    def tail(self) -> str:
        return self.log.read_text(encoding="utf-8")[-4000:]

    def ask(self, *words: str) -> dict:
        """One command of the command line, as JSON; empty while there is nothing to see."""
        argv = [TIDEMILL, "--json", *words]
        done = subprocess.run(argv, env=self.env, capture_output=True, text=True, check=False)
        return json.loads(done.stdout) if done.returncode == 0 and done.stdout else {}


@pytest.fixture
def play(home: Path) -> Iterator[Play]:
    made = Play(home)
    yield made
    for process in psutil.process_iter(["cmdline"]):
        if str(home) in " ".join(process.info["cmdline"] or []):
            process.kill()


def running(play: Play, kind: str, enough: int) -> Callable[[], bool]:
    """Whether a job of this kind is in the middle of its work."""

    def look() -> bool:
        jobs = play.ask("jobs", "list", "--kind", kind, "--state", "running").get("items", [])
        done = [(job["progress"] or {}).get("done") or 0 for job in jobs]
        return any(value >= enough for value in done)

    return look


def test_the_demo_survives_three_kills_and_nothing_is_lost_or_doubled(play: Play) -> None:
    play.kill_when(running(play, "tuning.run", 6), "a training under way")
    play.kill_when(running(play, "evals.run", 10), "an evaluation under way")
    play.kill_when(
        lambda: any(d["environment"] == "qa" for d in play.ask("deployments", "list").get("items", [])),
        "a deployment to qa",
    )
    text = play.finish()
    assert "What to type next" in text
    assert "Taking up" not in text, "a kill is no failure: the jobs must go on by themselves"
    with Client(home=play.home) as client:
        _one_of_everything(client)


def _one_of_everything(client: Client) -> None:
    (run,) = client.tuning.list().items
    steps = client.tuning.steps(run.id).items
    assert [s.step for s in steps] == list(range(1, len(steps) + 1))
    assert run.summary is not None
    assert run.summary.steps == len(steps)
    assert run.summary.resumed >= 0
    assert run.parity is not None
    assert run.parity.passed

    runs = client.evals.runs().items
    assert Counter(r.name for r in runs) == {"Naive Bayes": 1, "base model": 1, "tuned model": 1}
    for found in runs:
        results = client.evals.results(found.id, limit=500).items
        assert found.figures is not None
        assert [r.seq for r in results] == list(range(found.figures.items))
        assert found.figures.failures == 0

    (version,) = client.data.versions("trec").items
    assert version.version == 1
    assert [r.number for r in client.releases.list(name="question-type").items] == [2, 1]
    live = Counter(d.environment for d in client.deployments.list(active=True).items)
    assert live == {"dev": 1, "qa": 1, "prod": 1}
    (verdict,) = client.releases.verdicts("question-type@2").items
    assert verdict.verdict == "pass"
    (approval,) = client.releases.approvals().items
    assert (approval.requested_by_name, approval.decided_by_name, approval.state) == ("dana", "amir", "approved")
