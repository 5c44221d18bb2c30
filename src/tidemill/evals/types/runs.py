"""Runs: which target answers which items, how answers are scored, and what came out."""

from typing import Any, Literal

from pydantic import Field, model_validator

from tidemill.core.errors import ErrorBody
from tidemill.core.value_faults import text_form
from tidemill.core.wire import Body, Instant, Name, Value
from tidemill.evals.types.sets import LabelReport

RunState = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class ReleaseTarget(Body):
    """A release, asked through this server's own gateway."""

    kind: Literal["release"] = "release"
    release: str = Field(
        min_length=1,
        description="`name@3`, a `rel_` id, or `name` for its newest release; the run keeps the release's `name@3`.",
    )


class EndpointTarget(Body):
    """Any OpenAI-compatible chat endpoint."""

    kind: Literal["endpoint"] = "endpoint"
    base_url: str = Field(
        pattern=text_form(r"^https?://", "an address that begins with http:// or https://"),
        description="Such as `https://api.openai.com/v1`.",
    )
    model: str = Field(min_length=1)
    api_key_env: str | None = Field(
        default=None,
        pattern=text_form(r"^[A-Z][A-Z0-9_]*_API_KEY$", "the name of a variable that ends in _API_KEY"),
        description="Name of the server's environment variable that holds the key; it ends in `_API_KEY`.",
    )
    fingerprint: str | None = Field(
        default=None, description="What answers there, such as a model version id. Answers are cached under it."
    )


class BaselineTarget(Body):
    """Multinomial Naive Bayes over words, trained on a split of labelled text: what any model must beat."""

    kind: Literal["baseline"] = "baseline"
    method: Literal["naive_bayes"] = "naive_bayes"
    dataset: str = Field(description="Dataset version with the schema `classification`.")
    split: str = "train"


EvalTarget = ReleaseTarget | EndpointTarget | BaselineTarget


class ScorerSpec(Body):
    """One scorer with its settings."""

    scorer: str = Field(description="Name of the scorer, such as `label_accuracy`.")
    name: Name | None = Field(default=None, description="Name of the metric. Default: the scorer's name.")
    config: dict[str, Any] = Field(default_factory=dict, description="What the scorer takes.")

    @property
    def metric(self) -> str:
        """Return the metric's name: the scorer's unless another is given."""
        return self.name or self.scorer


class AskSampling(Body):
    """Sampling parameters to send. What is null is not sent, so a release keeps its own."""

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    stop: list[str] | None = None
    seed: int | None = Field(default=None, description="Repeat k is asked with seed + k.")
    response_format: dict[str, Any] | None = None


class RunCreate(Body):
    """Ask a target every item of an eval set, and score the answers."""

    eval_set: str = Field(description="`name`, `name@3` or an `es_` id.")
    target: EvalTarget
    scorers: list[ScorerSpec] = Field(min_length=1)
    name: str | None = Field(default=None, max_length=200, description="What a person calls this run.")
    repeats: int = Field(default=1, ge=1, le=20, description="Answers per item.")
    sampling: AskSampling = Field(default_factory=AskSampling)
    concurrency: int = Field(default=4, ge=1, le=256, description="Requests at once.")
    attempts: int = Field(default=5, ge=1, le=20, description="Tries per answer before it counts as failed.")
    timeout: float = Field(default=120, gt=0, le=3600, description="Seconds per try.")
    cache: bool | None = Field(
        default=None,
        description="Take answers of earlier runs for the same request. Default: for releases, and for endpoints "
        "with a fingerprint.",
    )
    answers_since: Instant | None = Field(
        default=None, description="Of earlier runs' answers, take only those given from this time on."
    )
    key: str | None = Field(default=None, max_length=200, description="Idempotency key: the same key is the same run.")

    @model_validator(mode="after")
    def _metrics(self) -> "RunCreate":
        names = [s.metric for s in self.scorers]
        if len(set(names)) != len(names):
            raise ValueError("two scorers have the same metric name: give one of them a `name`")
        return self


class AnswerScore(Value):
    """What one scorer says about one answer."""

    value: float = Field(ge=0, le=1)
    label: str | None = Field(default=None, description="The label that was read from the answer.")
    invalid: bool = Field(default=False, description="The answer could not be read; it counts as wrong.")
    cost: float | None = Field(
        default=None, ge=0, description="USD that this judgement has cost; null of a scorer that asks no paid model."
    )


class EvalResult(Value):
    """One answer, or the reason why there is none."""

    run_id: str
    seq: int = Field(description="Position of the item times repeats, plus the repeat.")
    item_id: str
    repeat: int
    answer: str | None
    finish_reason: str | None = None
    scores: dict[str, AnswerScore]
    error: ErrorBody | None = Field(default=None, description="Why there is no answer.")
    latency_ms: float | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    attempts: int = 1
    cached: bool = False
    at: Instant = Field(description="When it was recorded; of a cached answer: when the earlier run recorded it.")

    @property
    def failed(self) -> bool:
        """Whether there is no answer."""
        return self.error is not None


class AnswerWarning(Value):
    """What makes the figures of a run doubtful."""

    code: Literal[
        "constant_answer", "near_constant_answer", "class_never_predicted", "not_above_majority", "json_not_read"
    ]
    metric: str | None = Field(default=None, description="The metric in question; null: the answers themselves.")
    run: str | None = Field(default=None, description="In a comparison, the run in question.")
    message: str
    details: dict[str, Any] = Field(default_factory=dict, description="The figures behind it.")


class Metric(Value):
    """One metric over all answered items, with its interval."""

    name: str
    mean: float | None = Field(description="Null when no item was answered.")
    low: float | None
    high: float | None
    confidence: float = 0.95
    interval: Literal["wilson", "clustered_t"] | None
    items: int = Field(description="Items it is taken over.")
    invalid: int = Field(default=0, description="Answers that could not be read; they count as wrong.")
    corpus: float | None = Field(default=None, description="The corpus figure (BLEU, chrF), where there is one.")
    within_share: float | None = Field(
        default=None, description="Share of the variance that lies between repeats of one item."
    )
    labels: LabelReport | None = None
    note: str | None = Field(default=None, description="What makes the figure doubtful, and what to do.")


class RunMetrics(Value):
    """The metrics of a run, and its failures, latencies and tokens."""

    items: int
    answers: int
    failures: int = Field(description="Answers that never came. They are in no metric.")
    cached: int
    oldest_answer_at: Instant | None = Field(
        default=None, description="When the oldest of the answers was given; null in runs of 0.1.0."
    )
    metrics: list[Metric]
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    prompt_tokens: int | None
    output_tokens: int | None
    seconds: float
    errors: dict[str, int] = Field(description="Error code -> failures.")
    warnings: list[AnswerWarning] = Field(
        default_factory=list, description="One answer to everything, classes never answered, figures of no use."
    )


class EvalRun(Value):
    """A run with its spec and state and, once it has ended, its metrics."""

    id: str
    name: str | None
    eval_set_id: str
    eval_set: str = Field(description="Such as `trec-test@1`.")
    release: str | None = Field(
        default=None, description="The release that answers, as `name@3`; null when something else does."
    )
    spec: RunCreate
    state: RunState
    job_id: str | None
    figures: RunMetrics | None
    results_hash: str | None = Field(description="Hash over every answer and score, set when the run succeeds.")
    error: ErrorBody | None
    created_at: Instant
    created_by: str
    started_at: Instant | None
    finished_at: Instant | None

    def metric(self, name: str) -> Metric | None:
        """Return the metric of a name; None before the run has ended."""
        return next((m for m in self.figures.metrics if m.name == name), None) if self.figures else None
