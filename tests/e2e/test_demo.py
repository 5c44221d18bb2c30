"""The demo through the installed command line, killed (-9) three times on its way, and what is in the books after."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tidemill.client import Client
from tidemill.core import server_lock
from tidemill.core.http import ServerUnreachable
from tidemill.demo.context import QUICK

pytestmark = [pytest.mark.slow, pytest.mark.tune, pytest.mark.engine, pytest.mark.timeout(2400)]

TIDEMILL = shutil.which("tidemill", path=str(Path(sys.executable).parent)) or "tidemill"


FIRST_MILE = 13
"""The chapter in which the first answer is traced back."""


class Play:
    """The demo as a process that can be killed."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.env = {**os.environ, "TIDEMILL_HOME": str(home), "COLUMNS": "140"}
        self.log = home.parent / "demo.log"
        self.last: int | None = FIRST_MILE
        """The chapter to go to; None for all of them."""

    def start(self) -> subprocess.Popen[bytes]:
        argv = [TIDEMILL, "demo", "--quick", *(["--chapter", str(self.last)] if self.last else [])]
        with self.log.open("ab") as out:
            return subprocess.Popen(argv, env=self.env, stdout=out, stderr=out, start_new_session=True)

    def kill_when(self, ready: Callable[[], bool], what: str) -> None:
        """Start, wait for the moment, then kill demo and server without warning."""
        process = self.start()
        try:
            self._wait(ready, what, process)
        finally:
            live = server_lock.find(self.home)
            for pid in (process.pid, live.pid if live else None):
                if pid is not None and psutil.pid_exists(pid):
                    os.kill(pid, signal.SIGKILL)
            process.wait()
        deadline = time.monotonic() + 30
        while server_lock.find(self.home) is not None and time.monotonic() < deadline:
            time.sleep(0.1)

    def _wait(self, ready: Callable[[], bool], what: str, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 420
        while not ready():
            assert process.poll() is None, f"the demo ended before {what}:\n{self.tail()}"
            assert time.monotonic() < deadline, f"no {what} in time:\n{self.tail()}"
            time.sleep(0.2)

    def finish(self) -> str:
        process = self.start()
        assert process.wait(timeout=1800) == 0, self.tail()
        return self.log.read_text(encoding="utf-8")

    def tail(self) -> str:
        return self.log.read_text(encoding="utf-8")[-4000:]

    def sees(self, look: Callable[[Client], bool]) -> Callable[[], bool]:
        """Whether `look` finds it on the demo's server; not while there is none."""

        def asked() -> bool:
            live = server_lock.find(self.home)
            if live is None:
                return False
            with Client(live.url, api_key=live.token) as client, suppress(ServerUnreachable):
                return look(client)
            return False

        return asked


@pytest.fixture
def play(home: Path) -> Iterator[Play]:
    made = Play(home)
    yield made
    for process in psutil.process_iter(["cmdline"]):
        if str(home) in " ".join(process.info["cmdline"] or []):
            process.kill()


def running(kind: str, enough: int) -> Callable[[Client], bool]:
    """Whether a job of this kind is in the middle of its work."""

    def look(client: Client) -> bool:
        jobs = client.jobs.list(kind=kind, state="running").items
        return any(job.progress is not None and (job.progress.done or 0) >= enough for job in jobs)

    return look


def in_qa(client: Client) -> bool:
    """Whether qa is asked to serve something."""
    return any(d.environment == "qa" for d in client.deployments.list().items)


def test_the_demo_survives_kills_and_nothing_is_lost_or_doubled(play: Play) -> None:
    play.kill_when(play.sees(running("tuning.run", 6)), "a training under way")
    play.kill_when(play.sees(running("evals.run", 10)), "an evaluation under way")
    play.kill_when(play.sees(in_qa), "a deployment to qa")
    text = play.finish()
    assert "Where the answer came from" in text
    assert "Taking up" not in text, "a kill is no failure: the jobs must go on by themselves"
    with Client(home=play.home) as client:
        _one_of_everything(client)
    play.last = None
    play.kill_when(play.sees(running("tuning.run", 4)), "a retraining under way")
    assert "What to type next" in play.finish()
    with Client(home=play.home) as client:
        _one_turn(client)


def _one_turn(client: Client) -> None:
    (run,) = client.runs.list(pipeline="question-type").items
    assert run.state in ("succeeded", "refused"), "so short a training may be refused, which is an end too"
    assert len(client.triggers.firings("retrain").items) == 1
    assert len(client.tuning.list().items) == 2
    scores = list(client.scores.list(name="feedback", limit=500))  # the canary's callers judged too: over 500
    for batch, asked in (("quiet", QUICK.quiet), ("shift", QUICK.shifted)):
        sessions = Counter(s.session for s in scores if s.session and s.session.startswith(f"{batch}-"))
        assert sessions == Counter(f"{batch}-{n}" for n in range(asked)), "each question was asked and judged once"
    moved = Counter(r.release for r in client.rollouts.list(environment="prod").items)
    assert moved == Counter({"question-type@4": 1} | ({str(run.release): 1} if run.state == "succeeded" else {}))
    live = Counter(d.environment for d in client.deployments.list(active=True).items)
    assert live == {"dev": 1, "qa": 1, "prod": 1}


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
