"""`tidemill up`."""

from typing import Annotated

import typer
from rich.panel import Panel
from rich.text import Text

from tidemill import __version__
from tidemill.core.imports import import_at_once
from tidemill.core.settings import Settings
from tidemill.core.terminal import plain_console


def up(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = None,
    ephemeral: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Start the server: API, gateway, job workers and model engines, in one process."""
    settings = Settings()
    changed = {k: v for k, v in (("host", host), ("port", port)) if v is not None}
    # By name, so that `tidemill up --help` does not load the server.
    process = import_at_once("tidemill.server.process")
    console = plain_console()

    def started(info: object) -> None:
        url, key = getattr(info, "url", ""), getattr(info, "admin_key", None)
        if key:
            console.print(Panel(Text.assemble("Admin key, shown this once:\n", (key, "bold")), expand=False))
        place = f"  (home: {settings.home})"
        console.print(Text.assemble(f"Tidemill {__version__} listens on ", (url, "bold"), place), soft_wrap=True)
        console.print(f"OpenAI-compatible endpoint: {url}/v1   Stop with Ctrl-C.", style="dim")

    process.run(settings.model_copy(update=changed), ephemeral=ephemeral, started=started)
