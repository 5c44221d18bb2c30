"""`tidemill.Client`: every resource of the SDK behind one connection."""

import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

from tidemill.access.sdk import Access
from tidemill.core import server_lock
from tidemill.core.blobs.sdk import BlobStore
from tidemill.core.errors import Failed
from tidemill.core.http import Http, InProcessTransport
from tidemill.core.settings import Settings
from tidemill.data.sdk import Data
from tidemill.deployments.rollouts.sdk import Rollouts
from tidemill.deployments.sdk import Deployments
from tidemill.evals.sdk import Evals
from tidemill.gateway.sdk import Gateway
from tidemill.governance.sdk import Governance
from tidemill.jobs.sdk import Jobs
from tidemill.monitors.drift.sdk import Drift
from tidemill.monitors.sdk import Alerts, Kpis, Monitors, Notifiers, Slos, Triggers
from tidemill.pipelines.sdk import Pipelines, Runs
from tidemill.prompts.sdk import Prompts
from tidemill.registry.sdk import Models
from tidemill.releases.sdk import Gates, Releases
from tidemill.traces.masking.sdk import MaskingRules
from tidemill.traces.prices.sdk import Prices
from tidemill.traces.scores.sdk import Scores
from tidemill.traces.sdk import Traces
from tidemill.tuning.sdk import Tuning


class Client:
    """The door to Tidemill: a server at a URL, the live server of the local home, or this very process.

    `Client()` takes `TIDEMILL_URL` and `TIDEMILL_API_KEY` when they are set; else the server that lives in the
    local home folder; else it opens the home in this process. Jobs and models need a server: one that ends with this
    process is started when a job is waited for, or at once with `workers=True`.

        with Client() as client:
            client.prompts.create("hello", text="Say hello to {{name}}.")
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        home: str | Path | None = None,
        workers: bool = False,
    ) -> None:
        settings = Settings() if home is None else Settings(home=Path(home).resolve())
        self._child: subprocess.Popen[bytes] | None = None
        key = api_key or (settings.api_key.get_secret_value() if settings.api_key else None)
        self.http = self._connect(settings, url or settings.url, key, workers)
        self.access = Access(self.http)
        self.blobs = BlobStore(self.http)
        self.jobs = Jobs(self.http)
        self.prompts = Prompts(self.http)
        self.deployments = Deployments(self.http)
        self.rollouts = Rollouts(self.http)
        self.gateway = Gateway(self.http)
        self.traces = Traces(self.http)
        self.scores = Scores(self.http)
        self.data = Data(self.http)
        self.evals = Evals(self.http)
        self.tuning = Tuning(self.http)
        self.models = Models(self.http)
        self.releases = Releases(self.http)
        self.gates = Gates(self.http)
        self.pipelines = Pipelines(self.http)
        self.runs = Runs(self.http)
        self.governance = Governance(self.http)
        self.monitors = Monitors(self.http)
        self.slos = Slos(self.http)
        self.kpis = Kpis(self.http)
        self.alerts = Alerts(self.http)
        self.notifiers = Notifiers(self.http)
        self.triggers = Triggers(self.http)
        self.drift = Drift(self.http)
        self.prices = Prices(self.http)
        self.masking = MaskingRules(self.http)

    def _connect(self, settings: Settings, url: str | None, key: str | None, workers: bool) -> Http:
        if url:
            return Http(url, api_key=key)
        live = server_lock.find(settings.home)
        if live is None and workers:
            live = self._start(settings)
        if live is not None:
            return Http(live.url, api_key=key or live.token)
        # By name, so that a client of a live server does not load the server's code.
        application = import_module("tidemill.server.app").build(settings)
        return Http(
            "http://tidemill.local",
            api_key=key,
            transport=InProcessTransport(application.asgi),
            workers=lambda: server_lock.find(settings.home) or self._start(settings),
        )

    def _start(self, settings: Settings) -> server_lock.ServerAddress:
        argv = [sys.executable, "-m", "tidemill", "up", "--ephemeral", "--port", "0"]
        self._child = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=settings.child_environment(),
            start_new_session=True,
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            live = server_lock.find(settings.home)
            if live is not None:
                return live
            # When two commands start a server at once, one of the two gives up and both use the other.
            if self._child.poll() is not None and not server_lock.is_held(settings.home):
                break
            time.sleep(0.05)
        text = self._child.stdout.read().decode(errors="replace") if self._child.stdout and self._child.poll() else ""
        self._end_child()
        raise Failed(f"The local server did not start. {text.strip()}", hint="See logs/server.log in the home folder.")

    def _end_child(self) -> None:
        if self._child is None:
            return
        if self._child.stdin:
            self._child.stdin.close()
        try:
            self._child.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if self._child.stdout:
            self._child.stdout.close()
        self._child = None

    def close(self) -> None:
        """Close the connection; ends the server that this client started, if it did."""
        self.http.close()
        self._end_child()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
