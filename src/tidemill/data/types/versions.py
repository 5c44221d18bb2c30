"""Datasets, their immutable versions and what is told about them."""

from typing import Any, Literal

from pydantic import Field

from tidemill.core.wire import Body, Instant, Name, Value
from tidemill.data.types.recipe import FileFormat, Recipe, RowSchema, SplitSpec
from tidemill.jobs.types import Job


class Catalogue(Value):
    """Who answers for the data, and under which terms it is kept."""

    description: str | None = None
    owner: str | None = Field(default=None, description="Person or team that answers for the data.")
    licence: str | None = Field(default=None, description="SPDX identifier or the name of the terms.")
    purpose: str | None = Field(default=None, description="What the data may be used for.")
    retention_days: int | None = Field(default=None, ge=1, description="Days after import to keep a version.")


class CatalogueSet(Body):
    """Catalogue fields to change; a field left out stays, null clears it."""

    description: str | None = Field(default=None, max_length=5000)
    owner: str | None = Field(default=None, max_length=300)
    licence: str | None = Field(default=None, max_length=300)
    purpose: str | None = Field(default=None, max_length=2000)
    retention_days: int | None = Field(default=None, ge=1, le=36500)


class SourceRef(Body):
    """One uploaded file: the name it had and the hash of its blob."""

    name: str = Field(min_length=1, max_length=500)
    hash: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")


class ReadSpec(Body):
    """How the bytes of the files are read."""

    format: FileFormat | None = Field(default=None, description="Default: by file name, then by content.")
    encoding: str = Field(default="utf-8", max_length=40)
    delimiter: str | None = Field(default=None, min_length=1, max_length=1, description="For CSV.")
    pattern: str | None = Field(
        default=None, max_length=2000, description="For lines: a regular expression (RE2) with named groups."
    )


class MapSpec(Body):
    """Which column becomes which field."""

    fields: dict[str, str] = Field(
        default_factory=dict,
        description="Schema field -> column, or a template with `{{column}}`. `cluster` and `time` map the "
        "cluster key and the moment of a row; for chat, `system`, `user` and `assistant` make messages.",
    )
    label_values: dict[str, str] = Field(default_factory=dict, description="Label in the file -> label to store.")
    labels: list[str] | None = Field(default=None, description="The declared set; any other label is an error.")
    missing: Literal["error", "drop"] = Field(default="error", description="What to do with a row without a value.")


class ImportCreate(Body):
    """A request to make a dataset version out of uploaded files."""

    name: Name
    sources: list[SourceRef] = Field(min_length=1, max_length=10_000)
    row_schema: RowSchema | None = Field(default=None, description="Default: what the columns suggest.")
    read: ReadSpec = Field(default_factory=ReadSpec)
    mapping: MapSpec = Field(default_factory=MapSpec)
    recipe: Recipe | None = Field(default=None, description="Default: the standard recipe.")
    split: SplitSpec | None = Field(default=None, description="Default: one split (train; test for eval).")
    catalogue: CatalogueSet = Field(default_factory=CatalogueSet)


class ImportPlan(Value):
    """Everything that decides the content of a version. Equal plans give equal versions."""

    engine: int = Field(description="Raised when the code would make something else of the same plan.")
    sources: list[SourceRef]
    row_schema: RowSchema
    read: ReadSpec
    mapping: MapSpec
    recipe: Recipe
    split: SplitSpec


class Example(Value):
    """One row that a step dropped or changed; personal data is masked."""

    source: str = Field(description="File and line.")
    before: str
    after: str | None = Field(default=None, description="null when the row was dropped.")
    reason: str


class StepReport(Value):
    """The counts and examples of one step."""

    step: str
    rows_in: int
    rows_out: int
    changed: int = 0
    figures: dict[str, int] = Field(default_factory=dict, description="Counts by kind, such as `email`.")
    examples: list[Example] = Field(default_factory=list)

    @property
    def dropped(self) -> int:
        """Rows that went no further."""
        return self.rows_in - self.rows_out


class Leak(Value):
    """How many rows of one split also stand in an earlier one."""

    split: str
    against: str
    rows: int = Field(description="Rows of `split`.")
    exact: int = Field(description="Of these, rows with the same input text as a row of `against`.")
    near: int = Field(description="Of these, further rows that are nearly the same as one of `against`.")
    twins: int | None = Field(
        default=None,
        description="Further rows that resemble one of `against` but for numbers, hosts, times or a few words. They "
        "teach something else, so they may be in both; a model has nearly seen them. Null: not searched.",
    )
    twin_example: list[str] = Field(
        default_factory=list, description="Such a row and the one that it resembles, with 0 for what varies."
    )

    @property
    def share(self) -> float:
        """Leaking rows as a share of the split."""
        return (self.exact + self.near) / self.rows if self.rows else 0.0


class LeakReport(Value):
    """Leakage of the version, and of the split that would have been made without the recipe."""

    threshold: float | None = Field(description="Jaccard from which rows count as nearly the same.")
    found: list[Leak]
    twins_complete: bool = Field(
        default=True, description="False where only a sample was compared: there may be more twins than were counted."
    )
    uncleaned: list[Leak] = Field(description="The same ratios drawn row by row from the unclean rows (exact only).")


class SplitInfo(Value):
    """One split of a version: a Parquet file."""

    name: str
    rows: int
    hash: str = Field(description="Blob of the Parquet file.")
    bytes: int


class SourceInfo(Value):
    """One file that a version was made from."""

    name: str
    hash: str
    bytes: int
    rows: int


class Distribution(Value):
    """Lengths in characters over all rows."""

    min: int
    mean: float
    p50: int
    p95: int
    max: int


class Statistics(Value):
    """Lengths, labels and languages of a version's rows."""

    rows: int
    clusters: int
    chars: Distribution
    tokens_estimate: int = Field(description="UTF-8 bytes over four, the usual rule of thumb.")
    labels: dict[str, dict[str, int]] = Field(description="Label -> split -> rows; the 1,000 most frequent labels.")
    languages: dict[str, int] = Field(description="Language -> rows, in a sample of at most 500 rows.")


class DatasetVersion(Value):
    """An immutable set of rows under a content hash."""

    id: str
    dataset_id: str
    dataset: str = Field(description="Name of the dataset.")
    version: int
    row_schema: RowSchema
    content_hash: str
    plan_hash: str
    plan: ImportPlan
    sources: list[SourceInfo]
    splits: list[SplitInfo]
    steps: list[StepReport]
    leaks: LeakReport
    statistics: Statistics
    created_at: Instant
    created_by: str
    job_id: str | None

    @property
    def rows(self) -> int:
        """Rows in all splits."""
        return sum(split.rows for split in self.splits)

    @property
    def ref(self) -> str:
        """Reference that a person types: `name@version`."""
        return f"{self.dataset}@{self.version}"


class VersionSummary(Value):
    """A version in a listing."""

    id: str
    dataset: str
    version: int
    row_schema: RowSchema
    content_hash: str
    splits: list[SplitInfo]
    created_at: Instant
    created_by: str


class Dataset(Value):
    """A dataset: its versions under one name, and its catalogue entry."""

    id: str
    name: Name
    row_schema: RowSchema
    catalogue: Catalogue
    latest: int = Field(description="Number of the newest version.")
    created_at: Instant
    created_by: str


class Import(Value):
    """The answer to an import: the job that makes the version, or the version when it exists already."""

    job: Job | None
    version: DatasetVersion | None


class Preview(Value):
    """A page of rows."""

    split: str
    offset: int
    total: int
    rows: list[dict[str, Any]]


class RowChange(Value):
    """A row whose input stayed while something else changed."""

    before: dict[str, Any]
    after: dict[str, Any]


class LabelShift(Value):
    """How the share of one label moved."""

    label: str
    rows_before: int
    rows_after: int
    share_before: float
    share_after: float


class Diff(Value):
    """The difference between two versions."""

    before: str
    after: str
    added: int
    removed: int
    changed: int = Field(description="Same input, other content; not counted as added and removed.")
    moved: int = Field(description="Same row in another split.")
    unchanged: int
    labels: list[LabelShift]
    label_distance: float = Field(description="Total variation distance of the label shares, 0 to 1.")
    added_examples: list[dict[str, Any]]
    removed_examples: list[dict[str, Any]]
    changed_examples: list[RowChange]
