"""Eval sets: items with an input, what is expected, and the cluster they belong to."""

from typing import Any

from pydantic import Field, JsonValue

from tidemill.core.wire import Body, Instant, Name, Value


class ChatMessage(Value):
    """One message that is sent."""

    role: str
    content: str


class EvalItem(Value):
    """One question with its expected answer."""

    id: str
    messages: list[ChatMessage]
    expected: JsonValue = Field(description="Text, or any JSON value; null when there is none.")
    cluster_id: str = Field(description="Items of one cluster (document, user, session) are not independent.")
    metadata: dict[str, Any] = Field(default_factory=dict)


class EvalMapping(Body):
    """Which columns of the dataset make an item. The defaults follow from the dataset's schema."""

    input: str | None = Field(default=None, description="Column of text (user message) or of a list of messages.")
    expected: str | None = Field(default=None, description="Column of the expected answer.")
    cluster: str = Field(default="cluster_id", description="Column of the cluster key.")
    metadata: list[str] = Field(default_factory=list, description="Columns to keep with the item.")
    system: str | None = Field(default=None, description="A system message before every item.")


class EvalSetCreate(Body):
    """Make an eval set out of one split of a dataset version."""

    name: Name
    dataset: str = Field(description="Dataset version: `name`, `name@3` or a `dsv_` id.")
    split: str = "test"
    mapping: EvalMapping = Field(default_factory=EvalMapping)
    limit: int | None = Field(default=None, ge=1, description="Keep so many items, chosen by the hash of their id.")


class EvalSet(Value):
    """An immutable set of items. The same content under the same name is the same set."""

    id: str
    name: str
    number: int = Field(description="1, 2, 3 ... within the name.")
    content_hash: str = Field(description="Hash of the items, which is also the blob that holds them.")
    dataset_version_id: str
    dataset: str = Field(description="Such as `trec@1`.")
    split: str
    mapping: EvalMapping
    items: int
    clusters: int
    largest_cluster: int
    created_at: Instant
    created_by: str

    @property
    def ref(self) -> str:
        """How a person names it, such as `trec-test@1`."""
        return f"{self.name}@{self.number}"


class Confusion(Value):
    """How often each expected label (rows) was answered as each label (columns)."""

    labels: list[str] = Field(description="Rows, and the first columns.")
    columns: list[str] = Field(description="The labels, then `(invalid)`.")
    counts: list[list[int]]


class LabelMetrics(Value):
    """Precision, recall and F1 of one label."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


class LabelReport(Value):
    """Precision, recall and F1 of every label, and the confusion matrix."""

    classes: list[LabelMetrics]
    macro_precision: float
    macro_recall: float
    macro_f1: float
    confusion: Confusion
