"""The command `tidemill demo`."""

from importlib import import_module
from typing import Annotated

import typer

from tidemill.core.terminal import terminal


def demo(
    ctx: typer.Context,
    quick: Annotated[bool, typer.Option("--quick", help="Less of everything, in a few minutes.")] = False,
    chapter: Annotated[
        int | None, typer.Option("--chapter", help="Go to this chapter; what comes before is made when missing.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the chapters.")] = False,
) -> None:
    """Run the whole loop once on this machine.

    Data, tuning, proof, gate, approval, a served model, its users, drift, a retraining, a canary, a rollback.
    """
    play = import_module("tidemill.demo.play")
    if list_:
        play.chapters(terminal(ctx))
    else:
        play.play(terminal(ctx), quick=quick, only=chapter)
