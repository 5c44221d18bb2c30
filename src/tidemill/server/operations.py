"""`tidemill status`, `down` and `doctor`: the server of this home, seen and ended from outside."""

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.text import Text

from tidemill.core import server_lock
from tidemill.core.db import Database, revisions
from tidemill.core.errors import Failed, TidemillError
from tidemill.core.http import Http
from tidemill.core.machine import this_machine
from tidemill.core.plugins import PluginMissing, Plugins
from tidemill.core.settings import Settings
from tidemill.core.terminal import Terminal, size, terminal
from tidemill.core.wire import Value
from tidemill.engines.service import load_engine

NO_SERVER = 3
"""Exit status of `status` when no server runs, as service managers have it."""
LITTLE_SPACE = 2 * 1024**3
POLL_S = 0.1

_MARKS = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "fault": ("fault", "bold red")}


class LocalStatus(Value):
    """Whether a server runs in a home, and what it says of itself."""

    running: bool
    home: str
    url: str | None = None
    server: dict[str, object] | None = None


def status(ctx: typer.Context) -> None:
    """Show whether a server runs in this home, and what it does. Exits with 3 when none runs."""
    term, settings = terminal(ctx), Settings()
    address = server_lock.find(settings.home)
    if address is None:
        starting = server_lock.is_held(settings.home)
        if term.as_json:
            term.show(LocalStatus(running=False, home=str(settings.home)))
        elif starting:
            term.print(Text(f"A server starts in {settings.home}, and does not answer yet.", style="yellow"))
        else:
            term.print(f"No server runs in {settings.home}. Start one: tidemill up")
        raise typer.Exit(NO_SERVER)
    http = Http(address.url, api_key=address.token)
    report = http.send("GET", "/api/status").json()
    http.close()
    if term.as_json:
        term.show(LocalStatus(running=True, home=str(settings.home), url=address.url, server=report))
        return
    _print_status(term, address, report)


def _print_status(term: Terminal, address: server_lock.ServerAddress, report: dict[str, object]) -> None:
    loops, jobs, fleet, spans = (dict(report[name]) for name in ("loops", "jobs", "engines", "spans"))  # type: ignore[call-overload]
    dead = [name for name, alive in loops.items() if not alive]
    replicas = fleet["replicas"]
    rows = {
        "server": f"Tidemill {report['version']} at {address.url}, process {address.pid}",
        "since": f"{report['started_at']}"[:19].replace("T", " ") + " UTC",
        "home": report["home"],
        "database": f"{report['database']}, revision {report['schema_revision']}",
        "loops": f"{', '.join(dead)} stopped: see logs/server.log" if dead else f"{len(loops)} run",
        "jobs": ", ".join(f"{count} {state}" for state, count in sorted(jobs.items())) or "none yet",
        "engines": ", ".join(f"{replica['serves']} {replica['state']}" for replica in replicas) or "none",
        "spans": f"{spans['stored']} stored since the start, {spans['waiting']} wait, {spans['refused']} refused",
    }
    for name, text in rows.items():
        style = "bold red" if name == "loops" and dead else ""
        term.print(Text.assemble((f"{name:<10}", "bold"), (str(text), style)))


def down(
    ctx: typer.Context,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for its end.")] = 60.0,
) -> None:
    """Stop the server of this home: requests are answered, jobs go on at the next start."""
    term, home = terminal(ctx), Settings().home
    address = server_lock.find(home)
    if address is None:
        term.print(f"No server runs in {home}.")
        return
    if address.machine and address.machine != this_machine():
        raise Failed(
            f"The server at {address.url} runs on another machine or in another container.",
            hint="Run this where it runs: its process number means nothing here.",
        )
    try:
        os.kill(address.pid, signal.SIGTERM)
    except PermissionError as error:
        raise Failed(f"Process {address.pid} belongs to another user.", hint="Stop it as that user.") from error
    except ProcessLookupError as error:
        raise Failed(
            f"Process {address.pid} is not on this machine.", hint="The home is shared: run this where the server runs."
        ) from error
    term.print(f"Process {address.pid} at {address.url} is told to stop.")
    deadline = time.monotonic() + timeout
    while server_lock.is_held(home):
        if time.monotonic() > deadline:
            raise Failed(
                f"It has not ended after {timeout:g} s.", hint=f"See logs/server.log; kill -9 {address.pid} ends it."
            )
        time.sleep(POLL_S)
    term.print("It has ended.")


class Check(Value):
    """One thing that was looked at."""

    name: str
    result: Literal["ok", "warning", "fault"]
    what: str
    hint: str = ""


def doctor(ctx: typer.Context) -> None:
    """Check this installation and its home: what is wrong, and what to do. Exits with 1 for a fault."""
    term, settings = terminal(ctx), Settings()
    checks = [check for look in CHECKS for check in look(settings)]
    if term.as_json:
        term.table(checks, [], empty="")
    else:
        for check in checks:
            word, style = _MARKS[check.result]
            term.print(Text.assemble((f"{word:<8}", style), (f"{check.name:<10}", "bold"), check.what))
            if check.hint:
                term.print(Text(f"{'':<18}{check.hint}", style="dim"))
    if any(check.result == "fault" for check in checks):
        raise typer.Exit(1)


def _check_home(settings: Settings) -> Iterator[Check]:
    home = settings.home
    if not home.exists():
        yield Check(name="home", result="ok", what=f"{home} is not there yet; the first command makes it")
        return
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        yield Check(name="home", result="fault", what=f"{home} cannot be written", hint="Check who owns it.")
        return
    if home.stat().st_mode & 0o077:
        hint = f"It holds data, hashes of keys and the owner's token: chmod 700 {home}"
        yield Check(name="home", result="warning", what=f"other users can look into {home}", hint=hint)
        return
    yield Check(name="home", result="ok", what=str(home))


def _check_space(settings: Settings) -> Iterator[Check]:
    folder: Path = settings.home
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    little = free < LITTLE_SPACE
    hint = "Tuning a small model takes some 2 GB." if little else ""
    yield Check(name="space", result="warning" if little else "ok", what=f"{size(free)} free", hint=hint)


def _check_database(settings: Settings) -> Iterator[Check]:
    if not settings.database_url and not (settings.home / "tidemill.db").exists():
        yield Check(name="database", result="ok", what="SQLite, not there yet")
        return
    try:
        database = Database(settings.sql_url)
    except TidemillError as error:
        yield Check(name="database", result="fault", what=error.message, hint=error.hint or "")
        return
    kind = "SQLite" if database.is_sqlite else "PostgreSQL"
    try:
        current = database.revision()
    except TidemillError as error:
        yield Check(name="database", result="fault", what=error.message, hint=error.hint or "")
        return
    finally:
        database.close()
    chain = revisions()
    if current is not None and current not in chain:
        hint = "Upgrade Tidemill: an older one refuses to open it."
        yield Check(name="database", result="fault", what=f"{kind} at the unknown revision {current}", hint=hint)
    elif current != chain[-1]:
        what = f"{kind} at revision {current or 'none'}; {chain[-1]} is this version's"
        yield Check(
            name="database", result="warning", what=what, hint="The next start upgrades it: make a backup first."
        )
    else:
        yield Check(name="database", result="ok", what=f"{kind}, revision {current}")


def _check_server(settings: Settings) -> Iterator[Check]:
    address = server_lock.find(settings.home)
    if address is not None:
        yield Check(name="server", result="ok", what=f"runs at {address.url}, process {address.pid}")
        return
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            what = f"none runs, and {settings.host}:{settings.port} cannot be used: {error.strerror}"
            yield Check(name="server", result="warning", what=what, hint="Start it with --port, or --port 0.")
            return
    yield Check(name="server", result="ok", what=f"none runs; port {settings.port} is free")


def _check_packages(settings: Settings) -> Iterator[Check]:
    packages = [("tuning", "torch", "tuning"), ("tuning", "peft", "tuning")]
    try:
        engine = load_engine(Plugins(), settings)
    except PluginMissing as error:
        yield Check(name="engine", result="fault", what=error.message, hint=error.hint)
    else:
        packages.insert(0, ("engine", getattr(engine, "package", ""), "serving models"))
    for name, package, use in packages:
        if not package:
            continue
        if find_spec(package) is None:
            hint = 'pip install "tidemill[tune]"' if name == "tuning" else "Install Tidemill again."
            result: Literal["warning", "fault"] = "warning" if name == "tuning" else "fault"
            yield Check(name=name, result=result, what=f"{package} is not installed: no {use}", hint=hint)
        else:
            yield Check(name=name, result="ok", what=f"{package} is installed")


CHECKS: tuple[Callable[[Settings], Iterator[Check]], ...] = (
    _check_home, _check_space, _check_database, _check_server, _check_packages,
)  # fmt: skip
