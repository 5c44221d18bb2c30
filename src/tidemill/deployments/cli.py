"""`tidemill deploy`, `rollback`, `environments` and `deployments`."""

from datetime import datetime
from typing import Annotated

import typer

from tidemill.core.errors import Conflict
from tidemill.core.terminal import Column, CursorOption, LimitOption, Terminal, terminal
from tidemill.deployments.sdk import Deployments
from tidemill.deployments.types import Deployment

app = typer.Typer(help="What is served where, now and before.", no_args_is_help=True)

EnvironmentOption = Annotated[str | None, typer.Option("--env", help="Only this environment.")]

_COLUMNS: list[Column] = [
    ("deployment", "id"),
    ("environment", "environment"),
    ("release", "release"),
    ("state", "state"),
    ("kind", lambda d: "forced" if d.forced and d.kind == "deploy" else d.kind),
    ("by", "requested_by"),
    ("live from", "live_at"),
    ("until", "ended_at"),
]
_ENGINE_COLUMNS: list[Column] = [
    ("serves", "serves"),
    ("state", "state"),
    ("pid", "pid"),
    ("address", "base_url"),
    ("in flight", "in_flight"),
    ("restarts", "restarts"),
    ("kept", lambda r: "by an environment" if r.pinned else "while used"),
    ("log", "log"),
]


class DeploymentFailed(Conflict):
    """It did not become live."""

    code = "deployment_failed"


def deploy(
    ctx: typer.Context,
    release: Annotated[str, typer.Argument(help="name, name@3 or a rel_ id.")],
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
    found = sdk.wait(ordered.id) if wait else ordered
    if found.state in ("failed", "stopped") or (found.state == "superseded" and found.live_at is None):
        raise DeploymentFailed(
            f"{found.release} did not become live in {found.environment}: {found.error or found.state}",
            hint="What was live before still serves.",
        )
    term.show(found)
    term.print(f"Ask it: tidemill ask {found.environment}/{found.name} 'your question'")


def environments(ctx: typer.Context) -> None:
    """Every environment and what it serves now."""
    term = terminal(ctx)
    sdk = Deployments(term.http)
    found = sdk.environments()
    if term.as_json:
        term.table(found, [], empty="")
        return
    live = sdk.list(active=True, limit=500).items

    def serves(name: str) -> list[str]:
        return [d.release + ("" if d.state == "live" else f" ({d.state})") for d in live if d.environment == name]

    columns: list[Column] = [
        ("environment", "name"),
        ("asks for a gate", lambda e: e.policy.gate),
        ("asks for approval", lambda e: e.policy.approval),
        ("serves", lambda e: serves(e.name)),
    ]
    term.table(found, columns, empty="No environments.")


@app.command("list")
def listing(ctx: typer.Context, environment: EnvironmentOption = None) -> None:
    """What is live or starting now."""
    term = terminal(ctx)
    found = Deployments(term.http).list(environment=environment, active=True, limit=500)
    term.table(found, _COLUMNS, empty="Nothing is deployed. Start with: tidemill deploy RELEASE --env dev")


@app.command()
def show(ctx: typer.Context, deployment: Annotated[str, typer.Argument(help="A dep_ id.")]) -> None:
    """One deployment."""
    term = terminal(ctx)
    term.show(Deployments(term.http).get(deployment))


@app.command()
def history(
    ctx: typer.Context,
    environment: EnvironmentOption = None,
    name: Annotated[str | None, typer.Option(help="Only this release name.")] = None,
    at: Annotated[datetime | None, typer.Option(help="Only what served at this local time.")] = None,
    cursor: CursorOption = None,
    limit: LimitOption = 50,
) -> None:
    """What was served, newest first."""
    term = terminal(ctx)
    moment = at.astimezone() if at is not None else None
    found = Deployments(term.http).list(environment=environment, name=name, at=moment, cursor=cursor, limit=limit)
    term.table(found, _COLUMNS, empty="Nothing was served then." if at else "Nothing has been deployed yet.")


@app.command()
def stop(ctx: typer.Context, deployment: Annotated[str, typer.Argument(help="A dep_ id.")]) -> None:
    """Serve it no longer."""
    term = terminal(ctx)
    term.show(Deployments(term.http).stop(deployment))


@app.command()
def engines(ctx: typer.Context) -> None:
    """The engines that run now."""
    term = terminal(ctx)
    found = Deployments(term.http).engines()
    term.table(found.replicas, _ENGINE_COLUMNS, empty="No engine runs.")
