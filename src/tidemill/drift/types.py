"""Drift monitors: what is compared with what, and what a check found."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tidemill.core.errors import Conflict, Invalid, NotFound
from tidemill.core.wire import Body, Instant, Name, Value

DriftField = Literal["inputs", "outputs", "scores"]
DriftVerdict = Literal["drift", "no_drift", "inconclusive"]
ClusterKey = Literal["session", "user", "none"]

MAX_SAMPLE_ROWS = 3000
"""Rows of a sample at most: a check then still takes seconds, and each of its matrices stays below 150 MB."""


class DriftMonitorNotFound(NotFound):
    """No drift monitor has this name or id."""

    code = "drift_monitor_not_found"


class DriftMonitorExists(Conflict):
    """A drift monitor of this name is there already."""

    code = "drift_monitor_exists"


class DriftReportMissing(NotFound):
    """The monitor has not been checked yet, or there is no such report."""

    code = "drift_report_missing"


class ReferenceUnfit(Invalid):
    """The reference cannot be compared with the traffic."""

    code = "drift_reference_unfit"


class EmbeddingModelMissing(Conflict):
    """The embedding model's package is not installed, or its files do not have the expected hashes."""

    code = "embedding_model_missing"


class DatasetReference(Body):
    """Compare with one split of a dataset version."""

    kind: Literal["dataset"] = "dataset"
    dataset: str = Field(description="`name@3`; without a number the newest version at the time of the check.")
    split: str | None = Field(default=None, description="Default: the first split.")


class PeriodReference(Body):
    """Compare with the traffic of a fixed time."""

    kind: Literal["period"] = "period"
    start: Instant
    end: Instant

    @model_validator(mode="after")
    def _forwards(self) -> "PeriodReference":
        if self.end <= self.start:
            raise ValueError(f"the period ends ({self.end}) before it begins ({self.start})")
        return self


class DeploymentReference(Body):
    """Compare with the first traffic since the release went live in the environment."""

    kind: Literal["deployment"] = "deployment"


Reference = Annotated[DatasetReference | PeriodReference | DeploymentReference, Field(discriminator="kind")]


class DriftWindow(Body):
    """Which live traffic is compared: the newest requests, no older than so many hours."""

    rows: int = Field(default=300, ge=20, le=MAX_SAMPLE_ROWS, description="The newest so many requests.")
    hours: float | None = Field(
        default=None, gt=0, le=24 * 365, description="Only requests of the last hours. Default: of the last 30 days."
    )


class MinimumEffects(Body):
    """Smaller changes than these do not count as drift, however certain they are."""

    auc: float = Field(
        default=0.525,
        ge=0.5,
        lt=1,
        description="Area under the ROC curve of telling window from reference; 0.5 is chance.",
    )
    mmd: float = Field(
        default=0.02,
        ge=0,
        description="Maximum mean discrepancy: distance of the two samples, in units of the spread of all rows.",
    )
    ks: float = Field(default=0.1, ge=0, lt=1, description="Largest gap between two distributions of a number.")
    share: float = Field(
        default=0.075, ge=0, lt=1, description="Share of rows that changed their group (total variation)."
    )


class DriftMonitorCreate(Body):
    """A new drift monitor."""

    name: Name
    environment: Name | None = Field(default=None, description="Only traffic of this environment.")
    release: str | None = Field(default=None, description="Only traffic of the releases of this name.")
    model: str | None = Field(default=None, description="Only traffic that asked for this model.")
    reference: Reference
    reference_rows: int = Field(default=2000, ge=20, le=MAX_SAMPLE_ROWS, description="Rows of the reference at most.")
    window: DriftWindow = Field(default_factory=DriftWindow)
    minimum_rows: int = Field(default=100, ge=20, description="With fewer rows in a sample it is inconclusive.")
    alpha: float = Field(
        default=0.05, gt=0, le=0.2, description="How often a check may find drift where there is none."
    )
    minimum_effects: MinimumEffects = Field(default_factory=MinimumEffects)
    fields: list[DriftField] = Field(default=["inputs", "outputs", "scores"], min_length=1)
    cluster_by: ClusterKey = Field(
        default="session", description="Rows of one session (or user) are not independent: they are permuted together."
    )
    label_field: str | None = Field(
        default=None, description="For answers that are JSON: the field that holds a label, whose shares are compared."
    )
    labels: list[str] | None = Field(
        default=None, max_length=200, description="The known labels; any other is counted as `other`."
    )
    permutations: int = Field(default=999, ge=199, le=20_000, description="More give finer p-values.")
    every_minutes: int = Field(default=60, ge=1, le=60 * 24 * 31, description="How often the scheduler checks it.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Equal data and seed give an equal report.")

    @model_validator(mode="after")
    def _enough(self) -> "DriftMonitorCreate":
        fewest = min(self.window.rows, self.reference_rows)
        if self.minimum_rows > fewest:
            raise ValueError(f"minimum_rows {self.minimum_rows} is more than the {fewest} rows that are looked at")
        return self


class DriftMonitor(Value):
    """A drift monitor: which traffic it compares with which reference, and how."""

    id: str
    name: str
    environment: str | None
    release: str | None
    model: str | None
    reference: Reference
    reference_rows: int
    window: DriftWindow
    minimum_rows: int
    alpha: float
    minimum_effects: MinimumEffects
    fields: list[DriftField]
    cluster_by: ClusterKey
    label_field: str | None
    labels: list[str] | None
    permutations: int
    every_minutes: int
    seed: int
    created_by: str
    created_at: Instant


class DriftTest(Value):
    """One comparison of reference and window."""

    name: str = Field(description="Such as `inputs.classifier` or `outputs.length`.")
    field: DriftField
    method: Literal["classifier", "mmd", "ks", "shares"]
    rows_reference: int = Field(description="Rows of the reference that have a value here.")
    rows_window: int
    statistic: float = Field(description="AUC, MMD squared, KS distance or total variation.")
    effect: float = Field(description="How large the change is, on the scale of `minimum_effect`.")
    minimum_effect: float
    noise: float = Field(description="Effect that chance alone exceeds with probability alpha at this many rows.")
    p_value: float = Field(description="Of the permutation test.")
    adjusted_p: float = Field(description="Corrected for the number of tests in the report.")
    verdict: DriftVerdict
    rows_needed: int | None = Field(description="Further rows of the window that would settle it; null when settled.")
    reference: dict[str, float] = Field(
        default_factory=dict, description="Figures of the reference: median, shares ..."
    )
    window: dict[str, float] = Field(default_factory=dict, description="The same figures of the window.")


class DriftExample(Value):
    """One row of the window, shortened."""

    id: str = Field(description="Trace id.")
    text: str


class ClusterShift(Value):
    """A group of similar texts and how its share changed."""

    field: DriftField
    terms: list[str] = Field(description="Words that distinguish the cluster.")
    share_reference: float
    share_window: float
    change: float = Field(description="Window less reference.")
    low: float = Field(description="Lower end of the 95% interval of the change.")
    high: float
    examples: list[DriftExample] = Field(description="Rows of the window nearest to the centroid of the cluster.")
    largest_user_share: float | None = Field(
        description="Share of the cluster's window rows that come from its busiest user; null when users are not known."
    )


class QualityShift(Value):
    """The mean score that the reference's scores predict for the window's inputs, by importance weighting."""

    score: str
    rows: int = Field(description="Reference rows with this score.")
    effective_rows: float = Field(description="How many unweighted rows the weighted ones are worth.")
    before: float = Field(description="Mean over the reference.")
    expected: float = Field(description="Mean over the reference, weighted to match the window's inputs.")
    change: float
    low: float = Field(description="Lower end of the 95% interval of the change.")
    high: float


class DriftReport(Value):
    """The result of one check."""

    id: str
    monitor_id: str
    monitor: str
    verdict: DriftVerdict
    summary: str = Field(description="One sentence for a person.")
    rows_reference: int
    rows_window: int
    units_reference: int = Field(description="Independent groups of rows: sessions or users.")
    units_window: int
    reference_label: str = Field(description="Such as `trec@1 test` or the period.")
    window_start: Instant | None
    window_end: Instant | None
    tests: list[DriftTest]
    clusters: list[ClusterShift] = Field(description="Clusters whose share changed most, largest change first.")
    quality: list[QualityShift]
    notes: list[str] = Field(description="What was left out or cut short, and why.")
    rows_needed: int | None = Field(description="Further rows that would settle an inconclusive check.")
    seconds: float = Field(description="How long the check took.")
    created_at: Instant

    @property
    def strongest(self) -> DriftTest | None:
        """The test with the smallest adjusted p-value; of equals the one furthest above its minimum effect."""
        return min(self.tests, key=lambda t: (t.adjusted_p, t.minimum_effect - t.effect), default=None)
