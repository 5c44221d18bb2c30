"""What the statistics return: frozen values, which the features put into their own types as they are.

They are standard dataclasses, so that they load without numpy, scipy and pydantic. `__pydantic_config__` lets a
Pydantic type that holds one show the descriptions below in its JSON schema, and refuse unknown fields.
"""

import json
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, ClassVar, Literal

_SCHEMA: dict[str, Any] = {
    "extra": "forbid",
    "use_attribute_docstrings": True,
    "json_schema_serialization_defaults_required": True,
    "ser_json_inf_nan": "null",
}


class InsufficientData(ValueError):
    """There are too few observations for any statement; `hint` says what to collect."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class _Dumping:
    """The methods of Pydantic's models that results had as such; SDK callers use them."""

    __slots__ = ()

    def model_dump(self, *, mode: str = "python") -> dict[str, Any]:
        """Return the fields; with mode "json", null stands for what JSON cannot say."""
        fields = asdict(self)  # type: ignore[call-overload]
        if mode == "json":
            return {name: None if _is_no_number(value) else value for name, value in fields.items()}
        return dict(fields)

    def model_dump_json(self, *, indent: int | None = None) -> str:
        """Return the fields as JSON."""
        separators = (",", ":") if indent is None else None
        return json.dumps(self.model_dump(mode="json"), indent=indent, separators=separators, ensure_ascii=False)


def _is_no_number(value: Any) -> bool:
    return isinstance(value, float) and not isfinite(value)


@dataclass(frozen=True, slots=True)
class Rate(_Dumping):
    """A share of items with its Wilson interval; all are shares from 0 to 1."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _SCHEMA

    value: float
    low: float
    high: float
    confidence: float
    count: int
    """How many items it is taken over."""


@dataclass(frozen=True, slots=True)
class Difference(_Dumping):
    """The paired difference candidate - baseline of one metric, with its uncertainty."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _SCHEMA

    n_pairs: int
    """Items that both runs answered, repeats averaged within an item."""
    n_clusters: int
    baseline_mean: float
    candidate_mean: float
    delta: float
    """Mean of candidate - baseline over the items, in the metric's unit."""
    low: float
    """Lower end of the two-sided interval."""
    high: float
    """Upper end of the two-sided interval."""
    confidence: float
    """Of the two-sided interval."""
    se: float
    """Standard error that the interval is built on."""
    center: float
    """Centre of the interval: `delta`, drawn a little to 0 when most pairs tie."""
    square: float | None
    """Mean square of mostly tied differences; null when they are not."""
    worth: float
    """How many independent pairs `square` is worth."""
    df: float
    """Degrees of freedom of the t distribution (Bell-McCaffrey)."""
    p_value: float
    """Two-sided, by `test`."""
    p_greater: float
    """One-sided, of "candidate is not greater"."""
    p_less: float
    """One-sided, of "candidate is not less"."""
    test: Literal["mcnemar_exact", "sign_flip_exact", "sign_flip"]
    wilcoxon_p: float
    """Wilcoxon's signed-rank test over cluster means, as a check."""
    effect_size: float | None
    """Mean difference in standard deviations of the differences; null when they are all equal."""
    sd: float
    """Standard deviation of the differences."""
    wins: int
    """Pairs in which the candidate's value is greater."""
    losses: int
    ties: int
    icc: float
    """Intra-cluster correlation of the differences."""
    design_effect: float
    """How much clustering inflates the variance; 1 when it does not."""
    n_eff: float
    """How many independent pairs the pairs are worth."""
    warnings: list[str]
    worth_beyond: float | None = None
    """How many independent pairs a difference beyond `square` is judged on; null in results of 0.1."""
