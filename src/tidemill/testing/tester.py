"""What the fixture `tidemill` gives a test: ask, measure, and demand, with an honest third verdict."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from tidemill.client import Client
from tidemill.evals.types import Comparison, EvalRun
from tidemill.jobs.cli import describe
from tidemill.jobs.types import Job
from tidemill.stats.rates import wilson

REPORT_EVERY_S = 5.0
"""Seconds between two lines about an evaluation that is waited for."""

Scorers = Sequence[dict[str, Any] | str]


class Inconclusive(Exception):
    """The data can tell neither pass nor fail. `tidemill test` counts it apart and exits 2."""


class ReleaseMissing(ValueError):
    """A test needs a release, and none was named. `tidemill test` ends with 4, as for any wrong usage."""


def _say_nothing(_text: str) -> None:
    return None


class Tester:
    """Asks and measures the release (or model) under test, on the server that `Client()` finds."""

    __test__ = False

    def __init__(
        self, connect: Callable[[], Client], release: str | None, report: Callable[[str], None] = _say_nothing
    ) -> None:
        self._connect = connect
        self._report = report
        self._client: Client | None = None
        self.release = release

    @property
    def client(self) -> Client:
        """The SDK, connected on first use."""
        if self._client is None:
            self._client = self._connect()
        return self._client

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._client is not None:
            self._client.close()

    def under_test(self, release: str | None = None) -> str:
        """Return the release that a test is about: the given one, or that of `tidemill test --release`."""
        release_ref = release or self.release
        if release_ref is None:
            raise ReleaseMissing(
                "no release is under test: run `tidemill test --release NAME@3`, or name one in the test"
            )
        return release_ref

    def release_id(self, ref: str) -> str:
        """Return the release that `name@3`, or `prod/name`, means now. Raises ReleaseNotFound, DeploymentNotFound."""
        return self.client.releases.get(ref).id

    def ask(self, question: str | list[dict[str, Any]], *, model: str | None = None, **fields: Any) -> str:
        """Return the answer to a question, or to messages. `model` is `prod/NAME` or a release, `NAME@3`."""
        messages = [{"role": "user", "content": question}] if isinstance(question, str) else question
        reply = self.client.gateway.ask(self.under_test(model), messages, **fields)
        return str(reply["choices"][0]["message"]["content"] or "")

    def evaluate(
        self,
        eval_set: str,
        scorers: Scorers,
        *,
        release: str | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> EvalRun:
        """Ask the release every item of an eval set, and wait. Answers given before come from the cache."""
        target = {"kind": "release", "release": self.release_id(self.under_test(release))}
        run = self.client.evals.run(eval_set, target, list(scorers), **options)
        label = f"{run.eval_set} answered by {run.release or run.id}"
        self._report(f"{label}: waiting")
        return self.client.evals.wait(run.id, timeout=timeout, watch=_reporter(self._report, label))

    def at_least(self, run: EvalRun, metric: str, least: float) -> None:
        """Demand a metric. Passes when its whole 95% interval is at least `least`, fails when all of it is below.

        Raises AssertionError, or Inconclusive when `least` lies within the interval.
        """
        measured = run.metric(metric)
        if measured is None or measured.mean is None:
            raise AssertionError(f"{run.id} has no metric {metric!r}")
        low, high = (
            (measured.mean, measured.mean)
            if measured.low is None or measured.high is None
            else (measured.low, measured.high)
        )
        demand(low, high, least, f"{metric} is {measured.mean:.3f} ({low:.3f} to {high:.3f}) on {measured.items} items")

    def share(self, passed: Sequence[bool], least: float) -> None:
        """Demand a share of passed cases, by Wilson's 95% interval. Raises AssertionError, Inconclusive."""
        if not passed:
            raise AssertionError("no cases were judged")
        rate = wilson(sum(passed), len(passed))
        text = f"{sum(passed)} of {len(passed)} pass ({rate.low:.1%} to {rate.high:.1%})"
        demand(rate.low, rate.high, least, text)

    def no_worse(self, baseline: EvalRun, candidate: EvalRun, metric: str, *, margin: float) -> Comparison:
        """Demand that the candidate loses less than `margin`. Raises AssertionError, Inconclusive."""
        return self._compare(baseline, candidate, {"metric": metric, "kind": "non_inferiority", "margin": margin})

    def better(self, baseline: EvalRun, candidate: EvalRun, metric: str, *, minimum_effect: float) -> Comparison:
        """Demand that the candidate is better. Raises AssertionError, Inconclusive."""
        rule = {"metric": metric, "kind": "improvement", "minimum_effect": minimum_effect}
        return self._compare(baseline, candidate, rule)

    def _compare(self, baseline: EvalRun, candidate: EvalRun, rule: dict[str, Any]) -> Comparison:
        comparison = self.client.evals.compare(baseline.id, candidate.id, primary=rule)
        settle(comparison.outcome, comparison.summary)
        return comparison

    def passes_gate(self, gate: str, *, baseline: EvalRun, candidate: EvalRun, release: str | None = None) -> None:
        """Demand that a declared gate passes; its verdict is kept as evidence. Raises AssertionError, Inconclusive."""
        verdict = self.client.gates.evaluate(
            gate, self.under_test(release), baseline_run=baseline.id, candidate_run=candidate.id
        )
        settle(verdict.verdict, verdict.summary)


def _reporter(report: Callable[[str], None], label: str) -> Callable[[Job], None]:
    """Return a function that reports how a job stands, at most every REPORT_EVERY_S seconds."""
    reported_at = time.monotonic()

    def watch(job: Job) -> None:
        nonlocal reported_at
        if time.monotonic() - reported_at >= REPORT_EVERY_S:
            reported_at = time.monotonic()
            report(f"{label}: {describe(job)}")

    return watch


def demand(low: float, high: float, least: float, text: str) -> None:
    """Pass, fail, or neither, by where an interval lies."""
    if low >= least:
        return
    if high < least:
        raise AssertionError(f"{text}; at least {least:g} is demanded")
    raise Inconclusive(f"{text}; {least:g} lies within: more items would tell")


def settle(verdict: str, summary: str) -> None:
    """A verdict as a test ends: nothing, AssertionError or Inconclusive."""
    if verdict == "fail":
        raise AssertionError(summary)
    if verdict != "pass":
        raise Inconclusive(summary)
