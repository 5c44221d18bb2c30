"""How scores look on a terminal."""

import json

from rich.text import Text

from tidemill.feedback.types import Score


def judgement(score: Score) -> Text:
    """What a score says, in one line."""
    parts = [] if score.value is None else [f"{score.value:.4g}"]
    parts += [part for part in (score.label, f"“{score.comment}”" if score.comment else None) if part]
    text = Text("  ".join(parts))
    if score.correction is not None:
        told = score.correction if isinstance(score.correction, str) else json.dumps(score.correction)
        text.append(("  " if parts else "") + "→ " + told[:120], style="green")
    return text
