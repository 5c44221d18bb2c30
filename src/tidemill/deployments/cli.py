"""`tidemill deploy`, `rollback`, `environments` and `deployments`."""

from enum import StrEnum
from typing import Annotated

import typer
from rich.text import Text

from tidemill.core.errors import Conflict
from tidemill.core.terminal import Column, CursorOption, LimitOption, Terminal, terminal, waiting_for
from tidemill.core.times import TIME_FORMS, parse_time, parse_time_option
from tidemill.core.wire import MAX_PAGE, Page
from tidemill.deployments.sdk import Deployments
from tidemill.deployments.types import Deployment

app = typer.Typer(help="What is served where, now and before.", no_args_is_help=True)

EnvironmentOption = Annotated[str | None, typer.Option("--env", help="Only this environment.")]

DeploymentArgument = Annotated[str, typer.Argument(help="A dep_ id, prod/name, or name where one place serves it.")]

_LIVE_COLUMNS: list[Column] = [
    ("deployment", "id"),
    ("env", "environment"),
    ("release", "release"),
    ("state", "state"),
    ("kind", lambda d: "forced" if d.forced and d.kind == "deploy" else d.kind),
    ("by", "requested_by"),
    ("live from", "live_at"),
]
_COLUMNS: list[Column] = [*_LIVE_COLUMNS, ("until", "ended_at")]
_ENGINE_COLUMNS: list[Column] = [
    ("serves", "serves"),
    ("state", "state"),
    ("pid", "pid"),
    ("address", "base_url"),
    ("in flight", "in_flight"),
    ("restarts", "restarts"),
    ("needed", lambda r: "by an environment" if r.pinned else "while used"),
    ("log", "log"),
]
_RETIREMENT_COLUMNS: list[Column] = [
    ("model", "model"),
    ("sunset", "sunset"),
    ("successor", "successor"),
    ("announced", "announced_at"),
    ("by", "announced_by"),
    ("gone since", "ended_at"),
]


class OverrideChoice(StrEnum):
    """What becomes of requests that override a release."""

    allow = "allow"
    refuse = "refuse"


class DeploymentFailed(Conflict):
    """The deployment did not become live."""

    code = "deployment_failed"


def deploy(
    ctx: typer.Context,
    release: Annotated[str, typer.Argument(help="name, name@3, a rel_ id, or qa/name: what is live there.")],
    environment: Annotated[str, typer.Option("--env", help="dev, qa or prod.")] = "dev",
    replicas: Annotated[int, typer.Option(min=1, max=64, help="How many engines serve it.")] = 1,
    note: Annotated[str, typer.Option(help="Why.")] = "",
    force: Annotated[str | None, typer.Option(help="An admin's reason to pass over the rules; recorded.")] = None,
    wait: Annotated[bool, typer.Option(help="Wait until it is live.")] = True,
) -> None:
    """Serve a release in an environment, without a failed request."""
    term = terminal(ctx)
    sdk = Deployments(term.working_http)
    ordered = sdk.deploy(release, environment, replicas=replicas, note=note, force_reason=force)
    _finish(term, sdk, ordered, wait)


def rollback(
    ctx: typer.Context,
    environment: Annotated[str, typer.Argument(help="dev, qa or prod.")],
    name: Annotated[str | None, typer.Option(help="Which release name, when several are live.")] = None,
    note: Annotated[str, typer.Option(help="Why.")] = "",
    wait: Annotated[bool, typer.Option(help="Wait until it is live.")] = True,
) -> None:
    """Go back to the release that was live before."""
    term = terminal(ctx)
    sdk = Deployments(term.working_http)
    _finish(term, sdk, sdk.rollback(environment, name=name, note=note), wait)


def _finish(term: Terminal, sdk: Deployments, ordered: Deployment, wait: bool) -> None:
    stop = f"deployments stop {ordered.id}"
    with waiting_for(term, f"The deployment {ordered.id}", f"deployments show {ordered.id}", stop):
        deployment = sdk.wait(ordered.id) if wait else ordered
    if deployment.state in ("failed", "stopped") or (deployment.state == "superseded" and deployment.live_at is None):
        raise DeploymentFailed(
            f"{deployment.release} did not become live in {deployment.environment}: "
            f"{deployment.error or deployment.state}",
            hint="What was live before still serves.",
        )
    term.show(deployment)
    term.print(f"Ask it: tidemill ask {deployment.environment}/{deployment.name} 'your question'")


def environments(ctx: typer.Context) -> None:
    """Every environment and what it serves now."""
    term = terminal(ctx)
    sdk = Deployments(term.http)
    page = sdk.environments()
    if term.as_json:
        term.table(page, [], empty="")
        return
    live = list(sdk.list(active=True, limit=MAX_PAGE))

    def serves(name: str) -> list[str]:
        return [d.release + ("" if d.state == "live" else f" ({d.state})") for d in live if d.environment == name]

    columns: list[Column] = [
        ("environment", "name"),
        ("gate required", lambda e: e.policy.gate),
        ("approval required", lambda e: e.policy.approval),
        ("overrides", "overrides"),
        ("serves", lambda e: serves(e.name)),
    ]
    term.table(page, columns, empty="No environments.")
    if not live:
        term.print(Text("Nothing is served yet. Start with: tidemill deploy RELEASE --env dev", style="dim"))


@app.command()
def environment(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="dev, qa or prod.")],
    overrides: Annotated[
        OverrideChoice,
        typer.Option(help="Whether callers may set fields other than the release has them: allow or refuse."),
    ],
) -> None:
    """Change a setting of an environment."""
    term = terminal(ctx)
    term.show(Deployments(term.http).update_environment(name, overrides=overrides.value))


@app.command("list")
def list_deployments(ctx: typer.Context, environment: EnvironmentOption = None) -> None:
    """Deployments that are live or starting."""
    term = terminal(ctx)
    deployments = Deployments(term.http).list(environment=environment, active=True, limit=MAX_PAGE)
    term.table(
        Page(items=list(deployments)),
        _LIVE_COLUMNS,
        empty="Nothing is deployed. Start with: tidemill deploy RELEASE --env dev",
    )


@app.command()
def show(ctx: typer.Context, deployment: DeploymentArgument) -> None:
    """One deployment."""
    term = terminal(ctx)
    term.show(Deployments(term.http).get(deployment))


@app.command()
def history(
    ctx: typer.Context,
    environment: EnvironmentOption = None,
    name: Annotated[str | None, typer.Option(help="Only this release name.")] = None,
    at: Annotated[str | None, typer.Option(help=f"Only what served then: {TIME_FORMS}.")] = None,
    cursor: CursorOption = None,
    limit: LimitOption = 50,
) -> None:
    """All deployments, newest first."""
    term = terminal(ctx)
    moment = parse_time_option(at)
    deployments = Deployments(term.http).list(environment=environment, name=name, at=moment, cursor=cursor, limit=limit)
    term.table(deployments, _COLUMNS, empty="Nothing was served then." if at else "Nothing has been deployed yet.")


@app.command()
def stop(ctx: typer.Context, deployment: DeploymentArgument) -> None:
    """Stop a deployment."""
    term = terminal(ctx)
    term.show(Deployments(term.http).stop(deployment))


@app.command()
def engines(ctx: typer.Context) -> None:
    """The engines that run now."""
    term = terminal(ctx)
    fleet = Deployments(term.http).engines()
    term.table(fleet.replicas, _ENGINE_COLUMNS, empty="No engine runs.")


@app.command()
def at(
    ctx: typer.Context,
    moment: Annotated[str, typer.Argument(help=f"When: {TIME_FORMS}.")],
    environment: EnvironmentOption = None,
    name: Annotated[str | None, typer.Option(help="Only this release name.")] = None,
) -> None:
    """The deployments that served at a time, with their shares during a rollout."""
    term = terminal(ctx)
    answering = Deployments(term.http).at(parse_time(moment), environment=environment, name=name)
    columns: list[Column] = [
        ("environment", "environment"),
        ("name", "name"),
        ("share", lambda a: f"{a.share:g}%"),
        ("release", "release"),
        ("deployment", "deployment_id"),
        ("rollout", "rollout_id"),
        ("live from", "live_at"),
    ]
    term.table(answering, columns, empty="Nothing answered then.")


@app.command()
def retire(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="prod/support, or support for every environment that serves it.")],
    sunset: Annotated[
        str, typer.Option(help="When it stops answering, such as 30d from now, 2026-12-31 or 2026-12-31T18:00Z.")
    ],
    successor: Annotated[str, typer.Option(help="What callers should ask instead, such as prod/help.")],
    note: Annotated[str, typer.Option(help="Why.")] = "",
) -> None:
    """Announce that a name goes out of service: replies say so until the date, and 410 after it."""
    term = terminal(ctx)
    sdk = Deployments(term.http)
    retirements = sdk.retire(name, sunset=parse_time(sunset, ahead=True), successor=successor, note=note)
    term.table(retirements, _RETIREMENT_COLUMNS, empty="")
    for retirement in retirements.items:
        term.print(f"Who still asks: tidemill deployments callers {retirement.model}")


@app.command()
def retirements(ctx: typer.Context) -> None:
    """Retirements: names that are or will be out of service."""
    term = terminal(ctx)
    term.table(Deployments(term.http).retirements(), _RETIREMENT_COLUMNS, empty="Nothing is being retired.")


@app.command()
def callers(ctx: typer.Context, model: Annotated[str, typer.Argument(help="Such as prod/support.")]) -> None:
    """One retirement and its callers."""
    term = terminal(ctx)
    callers_now = Deployments(term.http).retirement(model).callers
    columns: list[Column] = [
        ("key", "key_id"),
        ("user", "user"),
        ("service", "service"),
        ("requests", "requests"),
        ("first", "first"),
        ("last", "last"),
    ]
    term.table(callers_now, columns, empty="Nobody has asked since it was announced.")


@app.command()
def keep(ctx: typer.Context, model: Annotated[str, typer.Argument(help="Such as prod/support.")]) -> None:
    """Cancel a retirement: the name stays in service."""
    term = terminal(ctx)
    Deployments(term.http).keep(model)
    term.print(f"{model} stays, or may be deployed again.")
