"""What tuning takes and gives: a spec, a run, its steps, and the parity proof of what came out."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from tidemill.core.errors import Conflict, Failed, Invalid, NotFound
from tidemill.core.value_faults import text_form
from tidemill.core.wire import Body, Instant, Name, Value
from tidemill.evals.types import AnswerWarning

Method = Literal["lora", "full"]
Schedule = Literal["linear", "cosine", "constant"]
Precision = Literal["auto", "bf16", "fp32"]
BestBy = Literal["eval_loss", "exact_match"]
Quantisation = Literal["f16", "q8_0", "q4_k_m", "q4_0", "q4_1"]
RunState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Verdict = Literal["pass", "fail", "inconclusive"]
Form = Annotated[
    str,
    StringConstraints(
        pattern=text_form(
            r"^gguf:(f16|q8_0|q4_k_m|q4_0|q4_1)$", "one of gguf:f16, gguf:q8_0, gguf:q4_k_m, gguf:q4_0, gguf:q4_1"
        )
    ),
]
"""A file to make from the merged model, such as `gguf:q8_0`."""

FORMS: tuple[Quantisation, ...] = ("f16", "q8_0", "q4_k_m", "q4_0", "q4_1")

LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class Lora(Body):
    """A low-rank adapter: which layers it changes and how strongly (https://arxiv.org/abs/2106.09685)."""

    rank: int = Field(default=16, ge=1, le=512, description="Columns of A, rows of B.")
    alpha: float = Field(default=32.0, gt=0, description="B A is multiplied by alpha / rank.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Share of the adapter's input set to zero.")
    targets: list[str] = Field(default=list(LORA_TARGETS), min_length=1, description="Linear layers to adapt.")
    last_layers: int | None = Field(
        default=None, ge=1, description="Adapt only this many blocks at the end; the rest need no backward pass."
    )


class Training(Body):
    """How the optimiser goes. The defaults are the measured recipe in `tuning/recipes.py`."""

    learning_rate: float = Field(default=5e-4, gt=0, le=1)
    epochs: float = Field(default=1.0, gt=0, description="Passes over the training rows; not used with `max_steps`.")
    max_steps: int | None = Field(default=None, ge=1, description="Optimiser steps; by default from `epochs`.")
    batch_size: int = Field(default=16, ge=1, description="Rows in one forward pass.")
    gradient_accumulation: int = Field(default=1, ge=1, description="Forward passes in one optimiser step.")
    micro_batch_tokens: int | None = Field(
        default=None,
        ge=16,
        description="Most tokens in one forward and backward pass; a larger batch is cut, with equal gradients. "
        "By default at most 2048, or less to fit into the memory that is free.",
    )
    max_length: int = Field(default=512, ge=16, description="Longest row in tokens; longer rows are left out.")
    schedule: Schedule = "linear"
    warmup_ratio: float = Field(default=0.05, ge=0, le=0.5, description="Share of the steps that warm up.")
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    completion_only: bool = Field(default=True, description="Only what the model should say counts in the loss.")
    eval_every: int = Field(default=50, ge=1, description="Optimiser steps between evaluations.")
    eval_rows: int = Field(default=128, ge=1, description="Rows in an evaluation during training.")
    checkpoint_every: int = Field(default=25, ge=1, description="Optimiser steps between checkpoints.")
    best_by: BestBy = Field(default="eval_loss", description="Which figure decides which step is kept.")
    precision: Precision = Field(default="auto", description="`auto`: bf16 where a test at start finds it faster.")
    gradient_checkpointing: bool = Field(default=False, description="Less memory, about a third more time.")
    seed: int = Field(default=42, ge=0)


FewRows = Literal["equal", "refuse", "accept"]


class Proof(Body):
    """How the parity proof is done."""

    rows: int = Field(default=128, ge=8, le=5000, description="Held-out prompts that are replayed.")
    margin: float = Field(default=0.08, gt=0, lt=1, description='Loss of quality that still counts as "not worse".')
    alpha: float = Field(default=0.05, gt=0, lt=0.5, description="Error rate of the non-inferiority test.")
    min_same: float = Field(
        default=0.5, ge=0, le=1, description="A hop whose share of equal answers is surely below this is broken."
    )
    few_rows: FewRows = Field(
        default="equal",
        description="Where there are too few rows to tell: `equal` lets a hop pass if every answer is the trainer's, "
        "and states what may have been missed; `refuse` lets none pass; `accept` lets an inconclusive hop be served.",
    )
    max_tokens: int = Field(default=48, ge=1, le=4096, description="Longest answer in tokens.")


class TuningSpec(Body):
    """All that decides what a tuning run does."""

    model: str = Field(description="Base model version, such as `smollm2` or `smollm2@1`.")
    dataset: str = Field(description="Dataset version, such as `trec@1`.")
    name: Name | None = Field(default=None, description="Name of the tuned model; by default made from both names.")
    prompt: str | None = Field(default=None, description="Prompt version whose messages stand before every row.")
    answer_template: str | None = Field(
        default=None,
        max_length=20_000,
        description='For classification: the answer to learn, such as `{"type": "{{label}}"}`. Default: `{{label}}`.',
    )
    method: Method = "lora"
    lora: Lora = Lora()
    training: Training = Training()
    train_split: str = "train"
    eval_split: str = Field(default="validation", description="Held-out rows for evaluation and the parity proof.")
    then: list[Form] = Field(default_factory=list, description="Files to make after training, such as `gguf:q8_0`.")
    keep_f16: bool = Field(
        default=False,
        description="Whether the F16 file that the others are made from stays after the proof. It also stays when "
        "`then` names `gguf:f16`, which proves that it may be served.",
    )
    proof: Proof = Proof()


class TuneSubmit(TuningSpec):
    """The request for a tuning run."""

    key: str | None = Field(default=None, max_length=200, description="The same key gives the same run, not a second.")


class CompressSubmit(Body):
    """Ask for smaller files of a tuned version."""

    version: str = Field(description="An adapter, tuned or merged model version.")
    to: list[Form] = Field(min_length=1)
    few_rows: FewRows | None = Field(default=None, description="In place of the run's own `proof.few_rows`.")
    key: str | None = Field(default=None, max_length=200)


class StepRecord(Value):
    """One record of the step log: an optimiser step."""

    step: int = Field(description="Counts from 1.")
    loss: float = Field(description="Mean over the step's completion tokens, in nats.")
    learning_rate: float
    grad_norm: float
    tokens: int = Field(description="Tokens in the step's rows, padding excluded.")
    seconds: float
    tokens_per_s: float
    eta_s: float = Field(description="Seconds that the remaining steps will take.")
    eval_loss: float | None = None
    exact_match: float | None = Field(
        default=None, description="Share of held-out rows whose every completion token is the most likely one."
    )


class MemoryEstimate(Value):
    """What a run will need, before it starts."""

    bytes: int = Field(description="Peak memory in bytes.")
    parts: dict[str, int] = Field(description="Bytes by purpose.")
    available: int = Field(description="Bytes free on the machine that trains.")
    fits: bool
    micro_batch_tokens: int | None = Field(
        default=None, description="Most tokens in one forward and backward pass of this run."
    )


class TrainingSummary(Value):
    """The figures of a finished training: steps, evaluation, speed and memory."""

    steps: int
    best_step: int
    eval_loss: float | None = None
    exact_match: float | None = None
    rows: int
    dropped: int = Field(description="Rows left out because they are longer than `max_length`.")
    tokens: int
    seconds: float
    tokens_per_s: float
    peak_memory: int = Field(description="Largest resident size of the training process in bytes.")
    precision: str
    device: str
    trainable: int = Field(description="Weights that were trained.")
    resumed: int = Field(description="How often it went on from a checkpoint.")


class Hop(Value):
    """One step of the way from the trainer to the served model, compared with the trainer's own answers."""

    name: str = Field(description="trainer, adapter, merged, gguf:f16, gguf:q8_0, served, ...")
    verdict: Verdict
    reason: str
    n: int
    same: int = Field(description="Answers equal to the trainer's, to the character.")
    same_share: float
    same_low: float = Field(description="Lower end of the 95% Wilson interval.")
    same_high: float
    prompts_equal: int | None = Field(description="Prompts whose token ids are exactly the trainer's; null: not asked.")
    quality: float | None = Field(description="Mean quality of this hop's answers against the data set's.")
    quality_before: float | None = Field(description="The trainer's own, on the same prompts.")
    delta: float | None
    delta_low: float | None = Field(description="One-sided lower bound of the change of quality.")
    delta_high: float | None = Field(default=None, description="One-sided upper bound of the change of quality.")
    differ_high: float | None = Field(
        default=None,
        description="Exact upper limit of the share of answers that are not the trainer's, one cluster counted once.",
    )
    warnings: list[AnswerWarning] = Field(
        default_factory=list, description="What makes the figures doubtful, such as one answer to everything."
    )
    examples: list[dict[str, str]] = Field(default_factory=list, description="A few answers that differ.")
    version_id: str | None = Field(default=None, description="The model version that this hop proves.")
    seconds: float | None = None


class ParityReport(Value):
    """Whether every hop still answers as the trainer does, and if not, which one broke."""

    passed: bool
    broken: str | None = Field(description="The first hop that did not pass, and was not accepted.")
    accepted: list[str] = Field(
        default_factory=list, description="Inconclusive hops that `few_rows: accept` lets be served."
    )
    rows: int
    margin: float
    alpha: float
    hops: list[Hop]


class Output(Value):
    """A model version that a run made."""

    kind: str = Field(description="base, adapter, tuned, merged, gguf:f16, gguf:q8_0, ...")
    version_id: str
    ref: str
    servable: bool


class TuningRun(Value):
    """A tuning run: its state, estimate, outputs and parity proof."""

    id: str
    name: Name = Field(description="Name of the tuned model.")
    state: RunState
    spec: TuningSpec
    base_version_id: str
    dataset_version_id: str
    prompt_version_id: str | None
    job_id: str
    estimate: MemoryEstimate | None
    last_step: StepRecord | None = Field(description="The newest record of the step log.")
    total_steps: int | None
    summary: TrainingSummary | None
    outputs: list[Output]
    parity: ParityReport | None
    error: dict[str, Any] | None
    created_at: Instant
    created_by: str
    finished_at: Instant | None


class StepPage(Value):
    """Records of the step log after a given step."""

    items: list[StepRecord]
    total_steps: int | None


class TuningRunNotFound(NotFound):
    """No run of that id."""

    code = "tuning_run_not_found"


class UnsupportedModel(Invalid):
    """A model architecture that cannot be tuned or converted."""

    code = "unsupported_model"


class UnknownQuantisation(Invalid):
    """A quantisation that is not supported."""

    code = "unknown_quantisation"


class AnswerTemplateInvalid(Invalid):
    """The answer template cannot be filled in."""

    code = "answer_template_invalid"


class DatasetSchemaUnfit(Invalid):
    """The dataset lacks what tuning needs."""

    code = "dataset_schema_unfit"


class NoTrainingRows(Invalid):
    """Nothing to train or to evaluate on."""

    code = "no_training_rows"


class ChatTemplateUnfit(Invalid):
    """A chat template that does not exist, cannot be rendered or does not extend its own prompt."""

    code = "chat_template_unfit"


class NotEnoughMemory(Invalid):
    """The run would not fit into memory; it was not started."""

    code = "not_enough_memory"


class InvalidTuningSpec(Invalid):
    """A spec that cannot be read."""

    code = "invalid_tuning_spec"


class RunNotResumable(Conflict):
    """Only a failed or cancelled run goes on."""

    code = "run_not_resumable"


class TuneExtraMissing(Invalid):
    """The packages for tuning are not installed."""

    code = "tune_extra_missing"


class TrainingFailed(Failed):
    """The training process ended with an error."""

    code = "training_failed"


class ParityFailed(Failed):
    """A hop does not answer as the trainer does."""

    code = "parity_failed"
