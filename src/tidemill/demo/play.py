"""The order of the chapters."""

import importlib.util

from tidemill.client import Client
from tidemill.core.errors import Invalid
from tidemill.core.terminal import Terminal
from tidemill.demo import deployment, evaluation, monitoring, retraining, summary, tuning
from tidemill.demo.context import FULL, QUICK, DemoContext

CHAPTERS = (
    ("Data: import, clean, split", tuning.data),
    ("Base model", tuning.base),
    ("Prompt", tuning.prompt),
    ("Tune, convert, prove", tuning.tune),
    ("Releases", evaluation.releases),
    ("Eval set and gate, declared before measuring", evaluation.declare),
    ("Evaluate", evaluation.measure),
    ("Gate", evaluation.judge),
    ("Deploy to dev and qa", deployment.promote),
    ("Approval by another person", deployment.approval),
    ("Deploy to prod", deployment.production),
    ("Ask, with the openai package", deployment.ask),
    ("Where the answer came from", deployment.origin),
    ("Users ask, and say what was right", monitoring.usual_traffic),
    ("The loop, declared in tidemill.yaml", monitoring.declare_loop),
    ("The mix shifts", monitoring.shifted_traffic),
    ("Drift, and a trigger with its two conditions", monitoring.drift),
    ("The loop runs: retrain, prove, judge", retraining.retrain),
    ("Approval, seen by a person", retraining.approve),
    ("A canary: 10%, 50%, everybody", retraining.canary),
    ("A broken release, by force", retraining.broken_release),
    ("Summary", summary.print_summary),
)


class NoSuchChapter(Invalid):
    """The demo has no chapter of that number."""

    code = "no_such_chapter"


class DemoExtraMissing(Invalid):
    """The demo needs packages that are not installed."""

    code = "demo_extra_missing"


def chapters(terminal: Terminal) -> None:
    """Print the numbers and titles of the chapters."""
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
        demo = DemoContext(owner=owner, size=QUICK if quick else FULL, terminal=terminal)
        try:
            for number, (title, chapter) in enumerate(CHAPTERS[:only], 1):
                with demo.chapter(number, title, muted=only is not None and number < only):
                    chapter(demo)
        finally:
            demo.close()
