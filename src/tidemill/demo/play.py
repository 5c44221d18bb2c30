"""The order of the chapters."""

import importlib.util

from tidemill.client import Client
from tidemill.core.errors import Invalid
from tidemill.core.terminal import Terminal
from tidemill.demo import judging, making, serving, summing, turning, watching
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
    ("Users ask, and say what was right", watching.quiet),
    ("The loop, declared in tidemill.yaml", watching.declare_loop),
    ("The mix shifts", watching.shift),
    ("Drift, and a trigger with two keys", watching.drift),
    ("The loop turns: retrain, prove, judge", turning.turn),
    ("Approval, seen by a person", turning.approve),
    ("A canary: 10%, 50%, everybody", turning.canary),
    ("A broken release, by force", turning.broken),
    ("Summary", summing.summary),
)


class NoSuchChapter(Invalid):
    """The demo has no chapter of that number."""

    code = "no_such_chapter"


class DemoExtraMissing(Invalid):
    """The demo needs packages that are not installed."""

    code = "demo_extra_missing"


def chapters(terminal: Terminal) -> None:
    """List the chapters."""
    for number, (title, _) in enumerate(CHAPTERS, 1):
        terminal.out.print(f"{number:2d}. {title}")


def play(terminal: Terminal, *, quick: bool, only: int | None = None) -> None:
    """Go through all chapters, or to one. What is done already is found again, so a second call goes on.

    Raises DemoExtraMissing, NoSuchChapter.
    """
    missing = [name for name in ("torch", "transformers", "peft", "openai") if importlib.util.find_spec(name) is None]
    if missing:
        raise DemoExtraMissing(
            f"The demo needs {', '.join(missing)}.", hint="pip install 'tidemill[tune,demo]', or run `make demo`."
        )
    if only is not None and not 1 <= only <= len(CHAPTERS):
        raise NoSuchChapter(f"There is no chapter {only}.", hint=f"1 to {len(CHAPTERS)}: `tidemill demo --list`.")
    with Client(workers=True) as owner:
        stage = Stage(owner=owner, size=QUICK if quick else FULL, terminal=terminal)
        try:
            for number, (title, chapter) in enumerate(CHAPTERS[:only], 1):
                with stage.chapter(number, title, muted=only is not None and number < only):
                    chapter(stage)
        finally:
            stage.close()
