"""What is done to rows on their way into a version, as data: the recipe and the split."""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from tidemill.core.wire import Body, Instant, Name
from tidemill.data.phones import PHONE_REGIONS, RegionUnknown, check_regions

RowSchema = Literal["chat", "completion", "classification", "text", "eval"]
FileFormat = Literal["jsonl", "csv", "parquet", "lines"]
PiiKind = Literal["email", "phone", "card", "iban", "ip", "secret"]
Scope = Literal["row", "input"]

PII_KINDS: tuple[PiiKind, ...] = ("secret", "email", "iban", "card", "ip", "phone")


class _Step(Body):
    def model_post_init(self, _context: Any) -> None:
        """Always send the name of the step, though it is a default: it tells which step this is."""
        self.model_fields_set.add("step")


class UnicodeStep(_Step):
    """Repair text that was decoded wrongly (`cafÃ©`), and bring it to NFC."""

    step: Literal["unicode"] = "unicode"


class WhitespaceStep(_Step):
    """Trim both ends; turn runs of spaces into one and more than one empty line into one."""

    step: Literal["whitespace"] = "whitespace"


class LanguageStep(_Step):
    """Keep rows in the given languages. Short rows are kept: their language cannot be told."""

    step: Literal["language"] = "language"
    keep: list[str] = Field(min_length=1, description="ISO 639-1 codes, such as `en`.")
    min_probability: float = Field(default=0.5, ge=0, le=1, description="Drop a row less certain than this.")
    min_chars: int = Field(default=20, ge=1, description="Rows shorter than this are kept unseen.")


class LengthStep(_Step):
    """Keep rows whose text has a length within bounds, in characters."""

    step: Literal["length"] = "length"
    min_chars: int = Field(default=1, ge=0)
    max_chars: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> "LengthStep":
        if self.max_chars is not None and self.max_chars < self.min_chars:
            raise ValueError(f"max_chars {self.max_chars} is below min_chars {self.min_chars}")
        return self


class ExactStep(_Step):
    """Keep the first of rows with the same text."""

    step: Literal["exact_duplicates"] = "exact_duplicates"
    on: Scope | None = Field(
        default=None,
        description="Compare the whole row or only its input. Default: the row for chat and completion "
        "(one prompt may have several good answers), the input otherwise.",
    )


class NearStep(_Step):
    """Keep the first of rows that are nearly the same and teach the same.

    MinHash finds candidates, the real Jaccard similarity with the kept row decides. A row with another label or answer
    is kept, and so is one with other numbers, symbols, names or negations, or with one word in place of another.
    """

    step: Literal["near_duplicates"] = "near_duplicates"
    threshold: float = Field(default=0.8, ge=0.5, le=1.0, description="Jaccard of character n-grams.")
    ngram: int = Field(default=5, ge=2, le=20, description="Characters per n-gram.")
    on: Scope | None = Field(default=None, description="As for exact_duplicates.")
    same_meaning: bool = Field(
        default=True,
        description="Drop only rows that teach the same as the kept one. false goes by similarity alone, and loses "
        "labels and answers; the step counts them.",
    )


class PiiStep(_Step):
    """Find personal data and secrets; mask them, drop the row, or only report."""

    step: Literal["pii"] = "pii"
    kinds: list[PiiKind] = Field(default=list(PII_KINDS), min_length=1)
    action: Literal["mask", "drop", "report"] = "mask"
    regions: list[str] = Field(
        default=list(PHONE_REGIONS),
        max_length=50,
        description="Whose national spellings of phone numbers are looked for, as in ISO 3166-1; with + all are.",
    )

    @field_validator("regions")
    @classmethod
    def _regions_exist(cls, regions: list[str]) -> list[str]:
        try:
            return list(check_regions(regions))
        except RegionUnknown as error:
            raise ValueError(f"{error} {error.hint}") from error


Step = Annotated[
    UnicodeStep | WhitespaceStep | LanguageStep | LengthStep | ExactStep | NearStep | PiiStep,
    Field(discriminator="step"),
]


class Recipe(Body):
    """Cleaning steps in the order in which they run."""

    steps: list[Step] = Field(default_factory=list, max_length=30)


def default_recipe() -> Recipe:
    """Repair, trim, drop empty rows, mask personal data, then drop exact and near duplicates.

    Masking stands before the duplicates, since rows that differ only in a masked value become equal.
    """
    return Recipe(
        steps=[UnicodeStep(), WhitespaceStep(), LengthStep(), PiiStep(), ExactStep(), NearStep()],
    )


class SplitSpec(Body):
    """How rows are divided into splits. Rows that share a cluster key or are near-duplicates never part."""

    ratios: dict[Name, float] = Field(description="Share of rows per split, such as train 0.8, test 0.2.")
    by: Literal["cluster", "time"] = Field(
        default="cluster",
        description="`cluster` draws whole clusters by seed; `time` puts earlier rows into earlier splits.",
    )
    boundaries: list[Instant] | None = Field(
        default=None, description="For `time`: the first moment of the second split, of the third, ..."
    )
    seed: int = Field(default=0, ge=0, lt=2**63)
    stratify: bool = Field(default=True, description="Keep label shares alike in all splits where possible.")
    near_duplicates: float | None = Field(
        default=0.8, ge=0.5, le=1.0, description="Keep rows this similar together; null looks at exact ones only."
    )
    templates: bool = Field(
        default=False,
        description="Also keep rows together that differ in numbers, hosts, times, paths and the like only.",
    )
    allow_empty_classes: bool = Field(default=False, description="Accept a split that holds no row of some class.")

    @field_validator("ratios")
    @classmethod
    def _sum_to_one(cls, ratios: dict[str, float]) -> dict[str, float]:
        if not ratios:
            raise ValueError("name at least one split")
        bad = {name: ratio for name, ratio in ratios.items() if not (math.isfinite(ratio) and ratio > 0)}
        if bad:
            raise ValueError(f"every ratio must be above 0, not {bad}")
        total = math.fsum(ratios.values())
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the ratios add up to {total:g}, not to 1")
        return ratios

    @model_validator(mode="after")
    def _boundaries_fit(self) -> "SplitSpec":
        if self.boundaries is None:
            return self
        if self.by != "time":
            raise ValueError("boundaries go with by=time")
        if len(self.boundaries) != len(self.ratios) - 1:
            raise ValueError(f"{len(self.ratios)} splits need {len(self.ratios) - 1} boundaries")
        if sorted(self.boundaries) != self.boundaries:
            raise ValueError("boundaries must rise")
        return self
