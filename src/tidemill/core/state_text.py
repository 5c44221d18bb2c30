"""States and verdicts in colour, the same in every command."""

from rich.text import Text

_STYLES = {
    "pass": "green",
    "no drift": "green",
    "quiet": "green",
    "sent": "green",
    "resolved": "green",
    "fail": "bold red",
    "drift": "bold red",
    "burning": "bold red",
    "failed": "bold red",
    "open": "bold red",
    "page": "bold red",
    "acknowledged": "yellow",
    "ticket": "yellow",
    "waiting": "yellow",
    "inconclusive": "yellow",
}


def state_text(word: str | None) -> Text:
    """Return a verdict or a state in its colour; a dim dash for None."""
    if word is None:
        return Text("-", style="dim")
    words = word.replace("_", " ")
    return Text(words, style=_STYLES.get(words, ""))
