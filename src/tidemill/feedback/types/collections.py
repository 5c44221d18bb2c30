"""Collections of answers: requests, values and errors."""

from typing import Literal

from pydantic import Field, model_validator

from tidemill.core.errors import Conflict, Invalid, NotFound
from tidemill.core.wire import Body, Instant, Name, Value
from tidemill.data.types import Recipe, RowSchema
from tidemill.feedback.types.scores import FEEDBACK, TraceId
from tidemill.traces.types import TraceFilter

Only = Literal["all", "judged", "liked", "corrected"]
Reason = Literal[
    "over_cap", "disputed", "disliked", "not_wanted", "failed", "no_input", "no_answer", "no_label", "erased"
]

MAX_ANSWERS = 10_000
"""Answers that one request collects at most."""


class NothingToCollect(Invalid):
    """Not one of the answers makes a row."""

    code = "nothing_to_collect"


class AnswersUnknown(NotFound):
    """Some of the traces or response ids have not been recorded."""

    code = "answers_unknown"


class AppendRefused(Conflict):
    """The dataset's newest version is divided in a way that rows cannot simply be added to."""

    code = "append_refused"


class CollectionNotFound(NotFound):
    """There is no such collection."""

    code = "collection_not_found"


class ToDataset(Body):
    """Make rows of answers, and a dataset version of the rows."""

    dataset: Name
    row_schema: RowSchema = Field(description="chat, completion, classification, text or eval.")
    traces: list[TraceId] | None = Field(default=None, min_length=1, max_length=MAX_ANSWERS)
    response_ids: list[str] | None = Field(default=None, min_length=1, max_length=MAX_ANSWERS)
    filter: TraceFilter | None = Field(
        default=None, description="Model calls that fit. Without `since`, those of the last seven days."
    )
    limit: int = Field(default=1000, ge=1, le=MAX_ANSWERS, description="With `filter`: so many, spread over the time.")
    only: Only = Field(
        default="all",
        description="`judged`: with feedback; `liked`: with good feedback or a correction; `corrected`.",
    )
    feedback: Name = Field(default=FEEDBACK, description="Name of the feedback that counts.")
    liked_from: float = Field(default=0.5, description="An answer is liked when its mean feedback is at least this.")
    use_correction: bool = Field(default=True, description="Take the correction, where there is one, as the answer.")
    label_field: str | None = Field(
        default=None, min_length=1, max_length=200, description="For classification: the JSON field with the label."
    )
    keep_system: bool = Field(
        default=False, description="Keep system messages; a prompt version brings its own when a model is tuned."
    )
    split: Name | None = Field(default=None, description="Name of the one split. Default: train; test for eval.")
    cap_per_user: int | None = Field(
        default=None, ge=1, description="Rows of one user at most; what is over is kept apart in quarantine."
    )
    append: bool = Field(default=True, description="Put the rows of the dataset's newest version behind the new ones.")
    recipe: Recipe | None = Field(default=None, description="Default: the standard recipe, which masks personal data.")

    @model_validator(mode="after")
    def _one_choice(self) -> "ToDataset":
        if sum(choice is not None for choice in (self.traces, self.response_ids, self.filter)) != 1:
            raise ValueError("give one of `traces`, `response_ids` and `filter`")
        return self


class Collection(Value):
    """Answers that became rows, and those in quarantine."""

    id: str
    dataset: str
    version_id: str = Field(description="The dataset version; there once the job has ended.")
    job_id: str | None = Field(description="The job that makes it; null when the same rows had made one before.")
    rows: int = Field(description="Answers that became rows of the source file, before the recipe.")
    quarantined: dict[str, int] = Field(description="Reason -> answers kept apart.")
    source_hash: str = Field(description="Blob of the rows, as JSON lines.")
    spec: ToDataset
    created_at: Instant
    created_by: str


class CollectionItem(Value):
    """One answer of a collection: its span, and its row or the reason why it has none."""

    seq: int
    trace_id: str = Field(description="Empty once it was erased, as the span's id is.")
    span_id: str
    response_id: str | None
    user: str | None = Field(description="Whom the row counts for: who corrected it, who asked, or the key.")
    reason: Reason | None = Field(description="Why it is in quarantine, or `erased` with its user; null for a row.")
    row: int | None = Field(description="Line of the source file.")
    corrected: bool = Field(description="The row's answer is a correction.")
