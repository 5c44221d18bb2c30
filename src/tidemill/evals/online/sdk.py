"""`client.evals.online`: scorers on live traffic."""

from typing import Any

from tidemill.core.http import Http
from tidemill.core.wire import Page
from tidemill.evals.types import OnlineChange, OnlineCreate, OnlineEvaluator, ScorerSpec


class Online:
    """Online evaluators: a scorer, a share of the traffic, a budget a day."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def create(self, name: str, scorer: ScorerSpec | dict[str, Any] | str, **options: Any) -> OnlineEvaluator:
        """Score live calls from now on.

        `options`: `share`, `filter`, `expected`, `per_day`, `usd_per_day`, `from_start`, `note`.

        A scorer is a name, or a dict with `scorer`, `name` and `config`. Raises ScorerInvalid, OnlineExists.
        """
        spec = {"scorer": scorer} if isinstance(scorer, str) else scorer
        body = OnlineCreate.model_validate({"name": name, "scorer": spec, **options})
        return self._http.post("/api/evals/online", OnlineEvaluator, body)

    def list(self) -> Page[OnlineEvaluator]:
        """Return every online evaluator, sorted by name."""
        return self._http.get("/api/evals/online", Page[OnlineEvaluator])

    def get(self, name: str) -> OnlineEvaluator:
        """Return the evaluator of a name with its counts. Raises OnlineNotFound."""
        return self._http.get(f"/api/evals/online/{name}", OnlineEvaluator)

    def change(self, name: str, **changes: Any) -> OnlineEvaluator:
        """Change `state` (`active`, `paused`), `share`, `per_day`, `usd_per_day` or `note`."""
        return self._http.patch(f"/api/evals/online/{name}", OnlineEvaluator, OnlineChange.model_validate(changes))

    def delete(self, name: str) -> None:
        """Remove an evaluator; its scores stay."""
        self._http.delete(f"/api/evals/online/{name}")
