"""`tidemill.Client`: every resource of the SDK behind one connection."""

from pathlib import Path

from tidemill.access.sdk import Access
from tidemill.connection import Connection
from tidemill.core.blobs.sdk import BlobStore
from tidemill.core.settings import Settings
from tidemill.data.sdk import Data
from tidemill.deployments.sdk import Deployments
from tidemill.drift.sdk import Drift
from tidemill.evals.sdk import Evals
from tidemill.feedback.sdk import Scores, TracesWithFeedback
from tidemill.gateway.sdk import Gateway
from tidemill.governance.sdk import Governance
from tidemill.jobs.sdk import Jobs
from tidemill.kpis.sdk import Kpis
from tidemill.monitors.sdk import Monitors
from tidemill.notifications.sdk import Alerts, Notifiers
from tidemill.pipelines.sdk import Pipelines, Runs
from tidemill.prompts.sdk import Prompts
from tidemill.registry.sdk import Models
from tidemill.releases.sdk import Gates, Releases
from tidemill.rollouts.sdk import Rollouts
from tidemill.slos.sdk import Slos
from tidemill.storage.sdk import Storage
from tidemill.traces.masking.sdk import MaskingRules
from tidemill.traces.prices.sdk import Prices
from tidemill.triggers.sdk import Triggers
from tidemill.tuning.sdk import Tuning


class Client:
    """A client of Tidemill: of a server at a URL, the live server of the local home, or this very process.

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
        self._connection = Connection(settings, url=url, api_key=api_key, workers=workers)
        self.http = self._connection.http
        self.access = Access(self.http)
        self.blobs = BlobStore(self.http)
        self.jobs = Jobs(self.http)
        self.storage = Storage(self.http)
        self.prompts = Prompts(self.http)
        self.deployments = Deployments(self.http)
        self.rollouts = Rollouts(self.http)
        self.gateway = Gateway(self.http)
        self.traces = TracesWithFeedback(self.http)
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

    def close(self) -> None:
        """Close the connection; ends the server that this client started, if it did."""
        self._connection.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
