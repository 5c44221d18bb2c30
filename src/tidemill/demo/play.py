"""The order of the chapters."""

import importlib.util

from tidemill.client import Client
from tidemill.core.errors import Invalid
from tidemill.core.terminal import Terminal
from tidemill.demo import judging, making, serving
from tidemill.demo.stage import FULL, QUICK, Stage

CHAPTERS = (
    ("Data: import, clean, split", making.data),
    ("Base model", making.base),
    ("Prompt", making.prompt),
    ("Tune, convert, prove", making.tune),
    ("Releases", judging.releases),
    ("Eval set and gate, declared before measuring", judging.declare),
    ("Evaluate", judging.measure),
    ("Gate", judging.judge),
    ("Deploy to dev and qa", serving.stairs),
    ("Approval by another person", serving.approval),
    ("Deploy to prod", serving.production),
    ("Ask, with the openai package", serving.ask),
    ("Where the answer came from", serving.origin),
    ("Summary", serving.summary),
)


class DemoExtraMissing(Invalid):
    """The demo needs packages that are not installed."""

    code = "demo_extra_missing"


def play(terminal: Terminal, *, quick: bool) -> None:
    """Go through all chapters. What is done already is found again, so a second call goes on where the first was."""
    missing = [name for name in ("torch", "transformers", "peft", "openai") if importlib.util.find_spec(name) is None]
    if missing:
        raise DemoExtraMissing(
            f"The demo needs {', '.join(missing)}.", hint="pip install 'tidemill[tune,demo]', or run `make demo`."
        )
    with Client(workers=True) as owner:
        stage = Stage(owner=owner, size=QUICK if quick else FULL, terminal=terminal)
        try:
            for number, (title, chapter) in enumerate(CHAPTERS, 1):
                with stage.chapter(number, title):
                    chapter(stage)
        finally:
            stage.close()
