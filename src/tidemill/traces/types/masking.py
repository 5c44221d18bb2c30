"""Masking rules, and the text that they make of another."""

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from tidemill.core.errors import Invalid, NotFound
from tidemill.core.wire import Body, Instant, Value
from tidemill.data.types import PiiKind


class MaskingRuleNotFound(NotFound):
    """There is no such masking rule."""

    code = "masking_rule_not_found"


class MaskingPatternInvalid(Invalid):
    """The pattern is not a regular expression in RE2's syntax, or it matches nothing at all."""

    code = "masking_pattern_invalid"


class MaskingKindUnknown(Invalid):
    """There is no such kind of personal data."""

    code = "masking_kind_unknown"


class MaskingRuleCreate(Body):
    """Something to mask in every span: kinds of personal data, what a pattern matches, or some keys' values."""

    kinds: list[PiiKind] = Field(default_factory=list, description="Kinds of personal data; each becomes `[EMAIL]`.")
    pattern: str | None = Field(default=None, min_length=1, max_length=2000, description="In RE2's syntax.")
    keys: list[Annotated[str, StringConstraints(min_length=1, max_length=200)]] = Field(
        default_factory=list,
        max_length=100,
        description="Names of attributes or of keys inside inputs and outputs, in any case; `*` for any letters.",
    )
    replacement: str = Field(default="[MASKED]", max_length=100, description="Instead of a match or of a key's value.")
    note: str = Field(default="", max_length=2000, description="Why.")

    @model_validator(mode="after")
    def _one_form(self) -> "MaskingRuleCreate":
        if sum((bool(self.kinds), self.pattern is not None, bool(self.keys))) != 1:
            raise ValueError("give one of `kinds`, `pattern` or `keys`")
        return self


class MaskingRule(Value):
    """One masking rule. It applies to spans that come in while it exists."""

    id: str
    kinds: list[PiiKind]
    pattern: str | None
    keys: list[str]
    replacement: str
    note: str
    created_by: str
    created_at: Instant


class Masking(Value):
    """All that is masked in spans now."""

    content: bool = Field(description="Whether inputs and outputs are stored at all (TIDEMILL_TRACE_CONTENT).")
    always: list[PiiKind] = Field(description="Kinds that the setting TIDEMILL_TRACE_MASK masks.")
    rules: list[MaskingRule]


class MaskingTry(Body):
    """A text to try the rules on."""

    text: str = Field(max_length=100_000)


class Masked(Value):
    """The text as it would be stored."""

    text: str
    changed: bool
