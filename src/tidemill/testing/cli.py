"""The command `tidemill test`."""

import importlib.util
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from tidemill.core.imports import restore_imports_for_foreign_code
from tidemill.core.terminal import terminal
from tidemill.pipelines.types import PytestMissing

PLUGIN = "tidemill.testing.plugin"
NOTHING_COLLECTED = 5
"""How pytest exits when it has found no test."""


def run_tests(
    ctx: typer.Context,
    paths: Annotated[list[str] | None, typer.Argument(help="Test files or folders, as pytest takes them.")] = None,
    release: Annotated[
        str | None,
        typer.Option("--release", "-r", help="What is tested: a release name@3, or a model such as prod/NAME."),
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write the results as JUnit XML.")] = None,
    keyword: Annotated[str | None, typer.Option("-k", help="Only tests whose names fit, as for pytest.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="One line for each test.")] = False,
) -> None:
    """Run tests that evaluate. Exits 0: all pass; 1: something fails; 2: nothing fails, something is inconclusive.

    It exits with 4 for a release that is not there, and with 5 when no test was found.
    In CI it needs TIDEMILL_URL and TIDEMILL_API_KEY, nothing else.
    """
    if importlib.util.find_spec("pytest") is None:
        raise PytestMissing("pytest is not installed.", hint="pip install 'tidemill[test]'")
    arguments = [*(paths or []), "-p", PLUGIN]
    arguments += ["--tidemill-release", release] if release is not None else []
    arguments += ["--junit-xml", str(junit)] if junit is not None else []
    arguments += ["-k", keyword] if keyword is not None else []
    arguments += ["-v"] if verbose else []
    restore_imports_for_foreign_code()
    code = int(import_module("pytest").main(arguments))
    if code == NOTHING_COLLECTED:
        hint = "No test was found. One that evaluates takes the fixture `tidemill`: docs/guides/pipelines.md."
        terminal(ctx).err.print(hint, style="yellow")
    raise typer.Exit(code)
