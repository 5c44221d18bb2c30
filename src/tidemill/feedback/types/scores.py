"""Scores and feedback: requests, values and errors."""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, StringConstraints, WithJsonSchema, field_validator, model_validator

from tidemill.core.errors import ErrorBody, Forbidden, Invalid, NotFound
from tidemill.core.times import TimeQuery
from tidemill.core.value_faults import text_form
from tidemill.core.wire import Body, Instant, Name, Value, canonical_json

ScoreSource = Literal["code", "model", "person"]
Thumbs = Literal["up", "down"]
SeriesKey = Literal["release", "environment", "deployment", "model", "source", "none"]

TraceId = Annotated[
    str,
    StringConstraints(
        pattern=text_form(r"^[0-9a-fA-F]{32}$", "32 hexadecimal digits, as `tidemill traces list` shows them"),
        to_lower=True,
    ),
]
SpanId = Annotated[
    str,
    StringConstraints(
        pattern=text_form(r"^[0-9a-fA-F]{16}$", "16 hexadecimal digits, as `tidemill traces show` shows them"),
        to_lower=True,
    ),
]

FEEDBACK = "feedback"
"""The name of a score that a person gives without naming it."""

MAX_BULK_ITEMS = 1000
"""Items in one bulk request at most."""

MAX_CORRECTION_BYTES = 262_144
"""The largest correction, as JSON."""


class TargetUnknown(NotFound):
    """No call, trace or span with this id has been recorded (yet)."""

    code = "feedback_target_unknown"


class ReleaseUnknown(NotFound):
    """No release has this name and number."""

    code = "traced_release_unknown"


class ScoreNotFound(NotFound):
    """There is no such score."""

    code = "score_not_found"


class FeedbackRefused(Forbidden):
    """Somebody without the role annotator may judge only the calls made with their own key."""

    code = "feedback_refused"


class FeedbackInvalid(Invalid):
    """One item of a bulk request cannot be read."""

    code = "feedback_invalid"


class Target(Body):
    """The target of a judgement: a call by its response id, a whole trace, or one span of it."""

    trace_id: TraceId | None = Field(default=None, description="32 hexadecimal digits.")
    span_id: SpanId | None = Field(default=None, description="16 hexadecimal digits; goes with `trace_id`.")
    response_id: str | None = Field(
        default=None, min_length=1, max_length=200, description="The id of a reply, such as `chatcmpl-…`."
    )

    @model_validator(mode="after")
    def _one_target(self) -> "Target":
        if (self.trace_id is None) == (self.response_id is None):
            raise ValueError("give `trace_id` or `response_id`, one of the two")
        if self.span_id is not None and self.trace_id is None:
            raise ValueError("`span_id` goes with `trace_id`")
        return self


class Judgement(Target):
    """A target and a judgement of it."""

    score: float | None = Field(default=None, description="Any finite number; higher is better by custom.")
    label: str | None = Field(default=None, min_length=1, max_length=200, description="A word, such as `off-topic`.")
    correction: JsonValue = Field(default=None, description="What the answer should have been: text or JSON.")
    comment: str | None = Field(default=None, min_length=1, max_length=10_000)

    @field_validator("score")
    @classmethod
    def _finite(cls, score: float | None) -> float | None:
        if score is not None and not math.isfinite(score):
            raise ValueError("a score is a finite number")
        return score

    @field_validator("correction")
    @classmethod
    def _not_huge(cls, correction: Any) -> Any:
        size = len(canonical_json(correction)) if correction is not None else 0
        if size > MAX_CORRECTION_BYTES:
            raise ValueError(f"the correction has {size:,} bytes; at most {MAX_CORRECTION_BYTES:,} are kept")
        return correction


class Feedback(Judgement):
    """A person's feedback on an answer: thumbs, a score, a label, a correction, a comment; at least one of them."""

    name: Name = FEEDBACK
    thumbs: Thumbs | None = Field(default=None, description="`up` is the value 1, `down` the value 0.")
    user: str | None = Field(
        default=None,
        min_length=1,
        max_length=120,
        description="The end user who gives it, when an application sends it for them. Default: the key's owner.",
    )

    @model_validator(mode="after")
    def _says_something(self) -> "Feedback":
        content = (self.thumbs, self.score, self.label, self.correction, self.comment)
        if all(part is None for part in content):
            raise ValueError("nothing is said: give `thumbs`, `score`, `label`, `correction` or `comment`")
        if self.thumbs is not None and self.score is not None:
            raise ValueError("give `thumbs` or `score`, not both")
        return self

    @property
    def value(self) -> float | None:
        """Return the score, or 1 for thumbs up and 0 for thumbs down; None without either."""
        return self.score if self.thumbs is None else float(self.thumbs == "up")


class ScoreCreate(Judgement):
    """A score that code or a model gives to an answer."""

    name: Name
    source: Literal["code", "model"] = "code"
    scorer: str | None = Field(default=None, max_length=120, description="What scored, such as `json_schema`.")

    @model_validator(mode="after")
    def _says_something(self) -> "ScoreCreate":
        if self.score is None and self.label is None:
            raise ValueError("give `score` or `label`")
        return self


class Score(Value):
    """One judgement of one answer. The same author judging the same target under the same name again replaces it."""

    id: str
    trace_id: str
    span_id: str | None = Field(description="null when the whole trace is judged.")
    response_id: str | None
    name: str
    value: float | None
    label: str | None
    comment: str | None
    correction: JsonValue
    source: ScoreSource
    scorer: str | None
    author: str = Field(description="The end user or the person who judged; `online/NAME` for an online evaluator.")
    recorded_by: str = Field(description="Whose key it came with.")
    at: Instant = Field(description="When it was given, or last replaced.")
    release_id: str | None = Field(description="This and what follows is copied from the span that is judged.")
    environment: str | None
    deployment_id: str | None
    model: str | None
    user: str | None
    session: str | None
    span_start: Instant


class FeedbackBulk(Body):
    """Many pieces of feedback; each is checked, stored and answered by itself."""

    items: list[Annotated[JsonValue, WithJsonSchema({"type": "object", "additionalProperties": True})]] = Field(
        min_length=1, max_length=MAX_BULK_ITEMS, description="Each as the body of `POST /api/feedback`."
    )


class BulkItem(Value):
    """The result of one item, in the order they were sent: a score or an error."""

    score: Score | None
    error: ErrorBody | None


class BulkReply(Value):
    """The results of a bulk request."""

    kept: int
    refused: int
    items: list[BulkItem]


class ScoreFilter(Body):
    """A filter over scores: every field that is set must match."""

    name: str | None = None
    source: ScoreSource | None = None
    scorer: str | None = None
    author: str | None = None
    trace_id: str | None = None
    response_id: str | None = None
    release_id: str | None = None
    environment: str | None = None
    deployment_id: str | None = None
    model: str | None = None
    user: str | None = None
    session: str | None = None
    corrected: bool | None = Field(default=None, description="With a correction, or without one.")
    since: TimeQuery | None = Field(default=None, description="Answers given from this moment on.")
    until: TimeQuery | None = Field(default=None, description="Answers given before this moment.")


class ScorePoint(Value):
    """Scores of one name over one stretch of time: a KPI."""

    t: Instant = Field(description="Where the stretch begins.")
    key: str | None = Field(description="The release, environment, ... it is taken over.")
    name: str
    count: int
    mean: float | None = Field(description="Of the scores that have a value.")
    sd: float | None = Field(description="Standard deviation; null for fewer than two values.")
    labels: dict[str, int] = Field(description="Label -> scores.")


class ScoreSeries(Value):
    """A KPI over time."""

    bucket_seconds: int
    points: list[ScorePoint]


@dataclass(frozen=True)
class JudgedPairs:
    """Sums over answers that a model and people have judged; each judgement is 1 for passing, else 0.

    An answer that several people judged counts with the share of those who pass it.
    """

    count: int
    people: float
    people_squares: float
    model: float
    both: float
    """Of the products."""
    disagreements: float


@dataclass(frozen=True)
class ScoreUnit:
    """The scores of one user, else one session, else one trace: they are not independent of each other."""

    t: datetime
    """Begin of the bucket of time; the epoch without buckets."""
    release_id: str | None
    count: int
    total: float
    binary: bool
    """Whether every value is 0 or 1."""
