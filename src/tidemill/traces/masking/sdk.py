"""`client.masking`: what is masked in spans before they are stored."""

from collections.abc import Sequence

from tidemill.core.http import Http
from tidemill.data.types import PiiKind
from tidemill.traces.types.masking import Masked, Masking, MaskingRule, MaskingRuleCreate, MaskingTry


class MaskingRules:
    """Masking rules. They apply to spans that come in while they exist."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def state(self) -> Masking:
        """Return the setting and all rules."""
        return self._http.get("/api/masking", Masking)

    def add(
        self,
        *,
        kinds: Sequence[PiiKind] = (),
        pattern: str | None = None,
        keys: Sequence[str] = (),
        replacement: str = "[MASKED]",
        note: str = "",
    ) -> MaskingRule:
        """Mask kinds of personal data, what a pattern (RE2) matches, or the values of keys: one of the three.

        Raises MaskingPatternInvalid.
        """
        body = MaskingRuleCreate(
            kinds=list(kinds), pattern=pattern, keys=list(keys), replacement=replacement, note=note
        )
        return self._http.post("/api/masking/rules", MaskingRule, body)

    def remove(self, rule_id: str) -> None:
        """Remove a rule. Raises MaskingRuleNotFound."""
        self._http.delete(f"/api/masking/rules/{rule_id}")

    def attempt(self, text: str) -> Masked:
        """Return a text as the rules would store it."""
        return self._http.post("/api/masking/try", Masked, MaskingTry(text=text))
