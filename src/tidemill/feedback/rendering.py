"""How scores look on a terminal."""

import json

from rich.text import Text

from tidemill.feedback.types import Score


def render_score(score: Score) -> Text:
    """Return value, label, comment and correction of a score in one line."""
    parts = [] if score.value is None else [f"{score.value:.4g}"]
    parts += [part for part in (score.label, f"“{score.comment}”" if score.comment else None) if part]
    text = Text("  ".join(parts))
    if score.correction is not None:
        correction = score.correction if isinstance(score.correction, str) else json.dumps(score.correction)
        text.append(("  " if parts else "") + "→ " + correction[:120], style="green")
    return text
