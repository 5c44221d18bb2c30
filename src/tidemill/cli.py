"""The table of commands. Each loads when it is called; `--help` and shell completion read the table alone."""

import atexit
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Annotated

import typer

from tidemill import __version__
from tidemill.core.commands import Lazy, LazyGroup
from tidemill.core.imports import import_at_once, spare_imports

if TYPE_CHECKING:
    from tidemill.core.http import Http

COMMANDS = {
    "deploy": Lazy(
        "tidemill.deployments.cli", "deploy", "Serve a release in an environment, without a failed request."
    ),
    "rollback": Lazy("tidemill.deployments.cli", "rollback", "Go back to the release that was live before."),
    "environments": Lazy("tidemill.deployments.cli", "environments", "Every environment and what it serves now."),
    "ask": Lazy("tidemill.gateway.cli", "ask", "Ask a model one question; the answer appears as it is written."),
    "chat": Lazy("tidemill.gateway.cli", "chat", "Talk with a model; an empty line or Ctrl-D ends it."),
    "lineage": Lazy("tidemill.governance.cli", "lineage", "Where a thing comes from, and what was made from it."),
    "feedback": Lazy("tidemill.feedback.cli", "feedback", "Give feedback on an answer."),
    "plan": Lazy(
        "tidemill.pipelines.cli",
        "plan",
        "Show what `apply` would change and what the next run would do. Changes nothing.",
    ),
    "apply": Lazy(
        "tidemill.pipelines.cli",
        "apply",
        "Apply a document: upload the files it names, and let runs follow it from now on.",
    ),
    "run": Lazy("tidemill.pipelines.cli", "run", "Start a run of a pipeline."),
    "schema": Lazy("tidemill.pipelines.cli", "schema", "Print the JSON schema of tidemill.yaml, for editors."),
    "test": Lazy(
        "tidemill.testing.cli",
        "run_tests",
        "Run tests that evaluate. Exits 0: all pass; 1: something fails; 2: nothing fails, something is inconclusive.",
    ),
    "up": Lazy(
        "tidemill.server.cli", "up", "Start the server: API, gateway, job workers and model engines, in one process."
    ),
    "status": Lazy(
        "tidemill.server.operations",
        "status",
        "Show whether a server runs in this home, and what it does. Exits with 3 when none runs.",
    ),
    "down": Lazy(
        "tidemill.server.operations",
        "down",
        "Stop the server of this home: requests are answered, jobs go on at the next start.",
    ),
    "doctor": Lazy(
        "tidemill.server.operations",
        "doctor",
        "Check this installation and its home: what is wrong, and what to do. Exits with 1 for a fault.",
    ),
    "demo": Lazy("tidemill.demo.cli", "demo", "Run the whole loop once on this machine."),
    "prompts": Lazy("tidemill.prompts.cli", "app", "Prompt versions and labels."),
    "data": Lazy("tidemill.data.cli", "app", "Datasets: import, versions, catalogue."),
    "models": Lazy("tidemill.registry.cli", "app", "Models, adapters, their versions and aliases."),
    "releases": Lazy("tidemill.releases.cli", "app", "Releases, their evidence and their approvals."),
    "gates": Lazy("tidemill.releases.gates_cli", "app", "Gates: declared before the evaluation that they judge."),
    "evals": Lazy("tidemill.evals.cli", "app", "Eval sets, runs, comparisons."),
    "tune": Lazy(
        "tidemill.tuning.cli", "app", "Fine-tune a model, make smaller files of it, and prove that they answer alike."
    ),
    "deployments": Lazy("tidemill.deployments.cli", "app", "What is served where, now and before."),
    "rollouts": Lazy(
        "tidemill.rollouts.cli", "app", "Move an environment to a release step by step, and back by itself."
    ),
    "pipelines": Lazy("tidemill.pipelines.cli", "app", "Pipeline documents: what was applied, and when."),
    "runs": Lazy("tidemill.pipelines.runs_cli", "app", "Pipeline runs: progress, retry, skip, cancel."),
    "calls": Lazy("tidemill.gateway.cli", "app", "Every call through /v1."),
    "traces": Lazy("tidemill.traces.cli", "app", "Traces: spans of every call."),
    "prices": Lazy(
        "tidemill.traces.prices.cli", "app", "What model calls cost: rules of your own before the public list."
    ),
    "masking": Lazy("tidemill.traces.masking.cli", "app", "What is masked in traces before they are stored."),
    "scores": Lazy("tidemill.feedback.cli", "app", "What code, models and people say about answers."),
    "monitors": Lazy("tidemill.monitors.cli", "app", "Everything that is monitored: objectives, KPIs, drift."),
    "slo": Lazy("tidemill.slos.cli", "app", "Objectives on latency, errors and quality, with error budgets."),
    "kpi": Lazy("tidemill.kpis.cli", "app", "KPIs: scores and feedback by release over time."),
    "alerts": Lazy("tidemill.notifications.cli", "alerts", "Alerts: open, acknowledged, resolved."),
    "notifiers": Lazy("tidemill.notifications.cli", "notifiers", "Where alerts are sent: webhooks, Slack, e-mail."),
    "triggers": Lazy("tidemill.triggers.cli", "app", "Start a pipeline when the data moved and the quality fell."),
    "jobs": Lazy("tidemill.jobs.cli", "app", "Work in the background: progress, logs, cancel, retry."),
    "storage": Lazy("tidemill.storage.cli", "app", "What takes space, why it is kept, and what may go."),
    "access": Lazy("tidemill.access.cli", "app", "People, roles and API keys."),
    "audit": Lazy("tidemill.governance.cli", "app", "Who did what and when."),
    "slo check": Lazy(
        "tidemill.monitors.cli", "check_slo", "Check now where an objective stands, and open or resolve its alerts."
    ),
    "traces show": Lazy(
        "tidemill.feedback.cli",
        "show",
        "Show one span with input and output: the first model call of a trace, or the one of --span.",
    ),
    "traces to-dataset": Lazy(
        "tidemill.feedback.collections.cli",
        "to_dataset",
        "Make a dataset version of answers, with people's corrections.",
    ),
    "traces collections": Lazy(
        "tidemill.feedback.collections.cli",
        "collections",
        "List collections of answers, newest first; or the answers of one collection.",
    ),
    "traces erase": Lazy(
        "tidemill.feedback.erasure.cli",
        "erase",
        "Erase a user: traces, scores, and rows on their way into datasets. Asks first, unless --yes is given.",
    ),
    "traces erasures": Lazy(
        "tidemill.feedback.erasure.cli",
        "erasures",
        "List erasures, newest first. Users are known by a hash alone.",
    ),
}
"""Name, module, attribute and help line. A name of two words is a command that another feature adds to a group."""


class Commands(LazyGroup):
    """Root command: options for all commands, and each command's module, loaded when it is called."""

    table = COMMANDS


RENAMED_OPTIONS = {"environment": "env", "var": "variable", "release-id": "release"}
"""Options of 0.1.0 that have one name in all commands now; the old one is taken for one release."""


def _current_name(word: str) -> str:
    return RENAMED_OPTIONS.get(word, word)


app = typer.Typer(
    cls=Commands,
    context_settings={"token_normalize_func": _current_name},
    help="The whole loop of a language-model product: data, tuning, evaluation, release, approval, serving.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _connect(workers: bool) -> "Http":
    settings = import_module("tidemill.core.settings").Settings()
    connection = import_at_once("tidemill.connection").Connection(settings, workers=workers)
    atexit.register(connection.close)
    http: Http = connection.http
    return http


def _version(show: bool) -> None:
    if show:
        sys.stdout.write(f"tidemill {__version__}\n")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    wide: Annotated[bool, typer.Option("--wide", help="Show every column of a table, however wide.")] = False,
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Give every command its terminal."""
    # By name, so that `--version` and `--help` load neither HTTP nor types.
    ctx.obj = import_at_once("tidemill.core.terminal").Terminal(connect=_connect, as_json=as_json, wide=wide)


_ANYWHERE = ("--json", "--wide")
"""Options of the root command that are taken wherever they are typed."""


def _root_options_first(words: list[str]) -> list[str]:
    """The words with the root command's options in front, wherever they were typed before a `--`."""
    end = words.index("--") if "--" in words else len(words)
    options = [option for option in _ANYWHERE if option in words[:end]]
    return [*options, *(word for word in words[:end] if word not in _ANYWHERE), *words[end:]]


def main() -> None:
    """Run the command line."""
    spare_imports()
    words = _root_options_first(sys.argv[1:])
    try:
        app(args=words)
    except (Exception, KeyboardInterrupt):
        with import_module("tidemill.core.terminal").failing_plainly(lambda: words[:1] == ["--json"]):
            raise
