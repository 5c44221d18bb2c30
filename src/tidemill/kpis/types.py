"""Key performance indicators: the mean of a score over time, and what counts as a drop."""

from typing import Literal

from pydantic import Field

from tidemill.core.errors import NotFound
from tidemill.core.wire import Body, Instant, Value

KpiVerdict = Literal["pass", "fail", "inconclusive"]

MINUTE, DAY = 60, 86400


class KpiNotFound(NotFound):
    """No KPI has this name."""

    code = "kpi_not_found"


class KpiTarget(Value):
    """Which traffic counts; a field that is left out does not narrow it."""

    environment: str | None = Field(default=None, description="Such as `prod`.")
    model: str | None = Field(default=None, description="As callers name it.")
    release_id: str | None = None
    service: str | None = Field(default=None, description="`service.name` of the sender.")


class KpiPut(Body):
    """A KPI: the mean of a score over a window, and what counts as a drop."""

    score: str = Field(min_length=1, max_length=120, description="Name of a score or of feedback.")
    source: Literal["code", "model", "person"] | None = None
    target: KpiTarget = Field(default_factory=KpiTarget)
    window_s: int = Field(default=DAY, ge=MINUTE, le=90 * DAY, description="Length of the window, in seconds.")
    floor: float | None = Field(default=None, description="A drop: the mean is below this.")
    drop: float | None = Field(
        default=None, gt=0, description="A drop: the mean fell by this much against the period before the window."
    )
    reference_s: int = Field(
        default=7 * DAY, ge=MINUTE, le=90 * DAY, description="Length of the period before the window, in seconds."
    )
    min_scores: int = Field(default=20, ge=2, description="With fewer scores it is inconclusive.")
    note: str = Field(default="", max_length=2000)


class Kpi(Value):
    """A stored KPI."""

    id: str
    name: str
    score: str
    source: Literal["code", "model", "person"] | None
    target: KpiTarget
    window_s: int
    floor: float | None
    drop: float | None
    reference_s: int
    min_scores: int
    note: str
    saved_by: str
    saved_at: Instant


class KpiPoint(Value):
    """The mean of a score in one stretch of time, for one release."""

    start: Instant
    end: Instant
    release_id: str | None
    scores: int
    units: int = Field(description="Users, sessions or traces that they come from: scores of one are correlated.")
    mean: float | None
    low: float | None = Field(description="Lower end of the 95% interval.")
    high: float | None
    interval: Literal["wilson", "clustered_t"] | None


class KpiReport(Value):
    """The value of a KPI now, and whether it dropped."""

    kpi: Kpi
    at: Instant
    now: KpiPoint
    reference: KpiPoint | None
    difference: float | None = Field(description="Mean now minus mean of the reference.")
    low: float | None = Field(description="Lower end of the 99% interval of the difference, which the verdict goes by.")
    high: float | None
    verdict: KpiVerdict = Field(description="fail: it dropped for sure; pass: for sure it did not; else inconclusive.")
    needed: int | None = Field(description="When inconclusive: about how many more scores would settle it.")
    why: str


class KpiSeries(Value):
    """A score over time, release by release."""

    score: str
    step_s: int
    points: list[KpiPoint]
