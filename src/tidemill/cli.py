"""The table of commands."""

import atexit
import sys
from importlib import import_module
from typing import Annotated

import typer
from rich.console import Console
from rich.panel import Panel

from tidemill import __version__
from tidemill.access import cli as access
from tidemill.client import Client
from tidemill.core.http import Http
from tidemill.core.settings import Settings
from tidemill.core.terminal import Terminal, failing_plainly, terminal
from tidemill.data import cli as data
from tidemill.deployments import cli as deployments
from tidemill.deployments.rollouts import cli as rollouts
from tidemill.evals import cli as evals
from tidemill.gateway import cli as gateway
from tidemill.governance import cli as governance
from tidemill.jobs import cli as jobs
from tidemill.monitors import cli as monitors
from tidemill.pipelines import cli as pipelines
from tidemill.pipelines import runs_cli
from tidemill.prompts import cli as prompts
from tidemill.registry import cli as registry
from tidemill.releases import cli as releases
from tidemill.releases import gates_cli as gates
from tidemill.testing import cli as testing
from tidemill.traces import cli as traces
from tidemill.traces.curation import cli as curation
from tidemill.traces.erasure import cli as erasure
from tidemill.traces.masking import cli as masking
from tidemill.traces.prices import cli as prices
from tidemill.traces.scores import cli as scores
from tidemill.tuning import cli as tuning

app = typer.Typer(
    help="The whole loop of a language-model product: data, tuning, evaluation, release, approval, serving.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

COMMANDS = {
    "prompts": prompts.app,
    "data": data.app,
    "models": registry.app,
    "releases": releases.app,
    "gates": gates.app,
    "evals": evals.app,
    "tune": tuning.app,
    "deployments": deployments.app,
    "rollouts": rollouts.app,
    "pipelines": pipelines.app,
    "runs": runs_cli.app,
    "calls": gateway.app,
    "traces": traces.app,
    "prices": prices.app,
    "masking": masking.app,
    "scores": scores.app,
    "monitors": monitors.monitors,
    "slo": monitors.slos,
    "kpi": monitors.kpis,
    "alerts": monitors.alerts,
    "notifiers": monitors.notifiers,
    "triggers": monitors.triggers,
    "jobs": jobs.app,
    "access": access.app,
    "audit": governance.app,
}

traces.app.command()(curation.to_dataset)
traces.app.command()(curation.collections)
traces.app.command()(erasure.erase)
traces.app.command()(erasure.erasures)

for _name, _commands in COMMANDS.items():
    app.add_typer(_commands, name=_name)

for _command in (
    deployments.deploy,
    deployments.rollback,
    deployments.environments,
    gateway.ask,
    gateway.chat,
    governance.lineage,
    scores.feedback,
    pipelines.plan,
    pipelines.apply,
    pipelines.run,
    pipelines.schema,
):
    app.command()(_command)

app.command("test")(testing.run_tests)


def _connect(workers: bool) -> Http:
    client = Client(workers=workers)
    atexit.register(client.close)
    return client.http


def _version(wanted: bool) -> None:
    if wanted:
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
    ctx.obj = Terminal(connect=_connect, as_json=as_json, wide=wide)


@app.command()
def up(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = None,
    ephemeral: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Start the server: API, gateway, job workers and model engines, in one process."""
    settings = Settings()
    changed = {k: v for k, v in (("host", host), ("port", port)) if v is not None}
    # By name, so that commands that only talk to a server do not load its code.
    process = import_module("tidemill.server.process")
    console = Console()

    def started(info: object) -> None:
        url, key = getattr(info, "url", ""), getattr(info, "admin_key", None)
        if key:
            console.print(Panel(f"Admin key, shown this once:\n[bold]{key}[/bold]", expand=False))
        console.print(f"Tidemill {__version__} listens on [bold]{url}[/bold]  (home: {settings.home})")
        console.print(f"OpenAI-compatible endpoint: {url}/v1   Stop with Ctrl-C.", style="dim")

    process.run(settings.model_copy(update=changed), ephemeral=ephemeral, started=started)


@app.command()
def demo(
    ctx: typer.Context,
    quick: Annotated[bool, typer.Option("--quick", help="Less of everything, in a few minutes.")] = False,
    chapter: Annotated[
        int | None, typer.Option("--chapter", help="Go to this chapter; what comes before is made when missing.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the chapters.")] = False,
) -> None:
    """Turn the whole loop once on this machine: data, tuning, proof, gate, approval, a served model, its users,
    drift, a retraining, a canary, a rollback."""
    play = import_module("tidemill.demo.play")
    if list_:
        play.chapters(terminal(ctx))
    else:
        play.play(terminal(ctx), quick=quick, only=chapter)


_ANYWHERE = ("--json", "--wide")
"""Options of the root command that are taken wherever they are typed."""


def _root_options_first(words: list[str]) -> list[str]:
    """The words with the root command's options in front, wherever they were typed before a `--`."""
    end = words.index("--") if "--" in words else len(words)
    given = [option for option in _ANYWHERE if option in words[:end]]
    return [*given, *(word for word in words[:end] if word not in _ANYWHERE), *words[end:]]


def main() -> None:
    """Run the command line."""
    words = _root_options_first(sys.argv[1:])
    with failing_plainly(lambda: words[:1] == ["--json"]):
        app(args=words)
