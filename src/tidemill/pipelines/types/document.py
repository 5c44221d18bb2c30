"""The document: what `tidemill.yaml` may say. The same values make a pipeline in Python."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from tidemill.core.value_faults import text_form
from tidemill.core.wire import Body, Name
from tidemill.data.types import CatalogueSet, MapSpec, ReadSpec, Recipe, RowSchema, SplitSpec
from tidemill.drift.types import DriftMonitorCreate
from tidemill.evals.types import AskSampling, EvalMapping, FailurePolicy, RuleKind, ScorerSpec
from tidemill.kpis.types import KpiPut
from tidemill.releases.types import Guardrail, Sampling
from tidemill.rollouts.types import Duration, Step, Strategy
from tidemill.slos.types import SloPut
from tidemill.triggers.types import TriggerPut
from tidemill.tuning.types import Form, Lora, Method, Proof, Training

Reference = Annotated[str, Field(min_length=1, max_length=160)]
"""`name`, `name@3`, `name@label` or an id."""


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _steps(value: Any) -> Any:
    return {"steps": value} if isinstance(value, list) else value


class SourceFile(Body):
    """One file that the dataset is made from. `apply` uploads it and fills in the hash."""

    path: str = Field(min_length=1, max_length=500, description="File or folder, relative to the document.")
    hash: str | None = Field(
        default=None, pattern=r"^sha256:[0-9a-f]{64}$", description="Filled in by `apply`: the content that was meant."
    )


class FeedbackSource(Body):
    """Traces with feedback as further training rows: what production taught since the last run."""

    release: Name | None = Field(default=None, description="Whose traces, by release name. Default: `release.name`.")
    environment: Name = "prod"
    score: Name = Field(default="feedback", description="Name of the score that counts as feedback.")
    accept: float | None = Field(
        default=None,
        description="Also learn answers whose mean feedback is at least this; null: only what was corrected.",
    )
    label_field: str | None = Field(
        default=None, min_length=1, max_length=200, description="For classification: the JSON field with the label."
    )
    days: int = Field(default=90, ge=1, le=3660, description="How far back answers are taken from.")
    per_user: int = Field(
        default=20, ge=1, description="At most so many rows of one user, so that nobody steers alone."
    )
    minimum: int = Field(default=1, ge=1, description="Fewer new judgements than this wait for the next run.")
    share: float = Field(
        default=0.5, gt=0, le=1, description="At most this share of the training rows may come from feedback."
    )
    max_chars: int = Field(default=8000, ge=1, description="Longer rows are left out.")
    into: Name | None = Field(default=None, description="Name of the joined dataset. Default: `<dataset>-live`.")


class DataSection(Body):
    """The dataset that the pipeline imports or reads."""

    dataset: Reference = Field(description="Name of the dataset to make, or (without `sources`) one that is there.")
    sources: list[SourceFile] = Field(default_factory=list, description="Files it is made from.")
    row_schema: RowSchema | None = None
    read: ReadSpec = ReadSpec()
    mapping: MapSpec = MapSpec()
    recipe: Annotated[Recipe | None, BeforeValidator(_steps)] = Field(
        default=None, description="Cleaning steps. Default: the standard recipe."
    )
    split: SplitSpec | None = None
    catalogue: CatalogueSet = CatalogueSet()
    feedback: FeedbackSource | None = Field(default=None, description="Continuous tuning: rows from production.")


class PromptMessage(Body):
    """A message that stands before the user's, with `{{variables}}` in its content."""

    role: Literal["system", "user", "assistant"]
    content: str


class PromptSection(Body):
    """The prompt that training and serving share."""

    name: Name
    system: str | None = Field(default=None, description="Short for one system message.")
    messages: list[PromptMessage] = Field(default_factory=list)
    labels: list[Name] = Field(default_factory=list, description="Labels to put on a new version.")

    @model_validator(mode="after")
    def _one_form(self) -> "PromptSection":
        if (self.system is None) == (not self.messages):
            raise ValueError("a prompt has either `system` or `messages`")
        return self


class TuningSection(Body):
    """How the base model is tuned."""

    name: Name | None = Field(default=None, description="Name of the tuned model.")
    answer_template: str | None = Field(default=None, max_length=20_000)
    method: Method = "lora"
    lora: Lora = Lora()
    training: Training = Training()
    train_split: Name = "train"
    eval_split: Name = "validation"
    then: list[Form] = Field(default=["gguf:q8_0"], min_length=1, description="Files to make; each is proved.")
    serve: Form | None = Field(default=None, description="Which of them is released. Default: the last of `then`.")
    proof: Proof = Proof()

    @model_validator(mode="after")
    def _served(self) -> "TuningSection":
        if self.serve is not None and self.serve not in self.then:
            raise ValueError(f"`serve` {self.serve} is not made: `then` has {', '.join(self.then)}")
        return self


class EvalSection(Body):
    """One eval set and how answers to it are scored."""

    name: Name = Field(description="Name of the eval set.")
    dataset: Reference | None = Field(default=None, description="Default: the declared dataset, before feedback.")
    split: Name = "test"
    mapping: EvalMapping = EvalMapping()
    limit: int | None = Field(default=None, ge=1)
    scorers: list[ScorerSpec] = Field(min_length=1)
    sampling: AskSampling = AskSampling()
    repeats: int = Field(default=1, ge=1, le=20)
    concurrency: int = Field(default=4, ge=1, le=256)
    naive_bayes: str | None = Field(
        default=None, description="Also measure Naive Bayes trained on this split: what any model must beat."
    )


class ReleaseSection(Body):
    """The release that the pipeline creates."""

    name: Name
    sampling: Sampling = Sampling()
    note: str = Field(default="", max_length=2000)


class GateSection(Body):
    """A gate, declared before anything is measured."""

    name: Name
    eval: Name = Field(description="One of the document's `evals`.")
    metric: str
    direction: Literal["higher", "lower"] = "higher"
    kind: RuleKind = "improvement"
    minimum_effect: float | None = Field(default=None, gt=0)
    margin: float | None = Field(default=None, gt=0)
    guardrails: list[Guardrail] = Field(default_factory=list)
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    power: float = Field(default=0.8, gt=0.5, lt=1)
    failures: FailurePolicy = "refuse"
    against: Name = Field(
        default="prod", description="The candidate is compared with what this environment serves at that moment."
    )
    otherwise: str = Field(
        default="base_model",
        description="While nothing is served there: `base_model`, `naive_bayes`, or a release such as `support@3`.",
    )

    @model_validator(mode="after")
    def _complete(self) -> "GateSection":
        if self.kind == "improvement" and (self.minimum_effect is None or self.margin is not None):
            raise ValueError("an improvement gate needs `minimum_effect`, and no `margin`")
        if self.kind == "non_inferiority" and (self.margin is None or self.minimum_effect is not None):
            raise ValueError("a non-inferiority gate needs `margin`, and no `minimum_effect`")
        return self


class ApprovalSection(Body):
    """How approval is requested before an environment."""

    note: str = Field(default="", max_length=2000)
    valid_hours: int = Field(default=168, ge=1, le=8760, description="After this the request lapses.")


class RolloutSection(Body):
    """How callers are moved over. Without it everybody is moved at once."""

    strategy: Strategy = "canary"
    steps: list[Step] | None = Field(
        default=None, min_length=1, max_length=50, description="weight, pause, analysis. Default: the strategy's own."
    )
    warm: Duration = Field(default=600.0, description="Blue/green: how long the old release is kept ready.")


def _approval(value: Any) -> Any:
    return {} if value is True else None if value is False else value


class EnvironmentSection(Body):
    """One environment on the way of a release, in the order of promotion."""

    name: Name
    replicas: int = Field(default=1, ge=1, le=64)
    approval: Annotated[
        ApprovalSection | None, BeforeValidator(_approval, json_schema_input_type=bool | ApprovalSection | None)
    ] = Field(
        default=None, description="Ask a person before it goes there. Where the environment demands it, always done."
    )
    rollout: RolloutSection | None = None
    note: str = Field(default="", max_length=2000)


class SloSection(SloPut):
    """A service level objective."""

    name: Name


class KpiSection(KpiPut):
    """A KPI that the pipeline declares."""

    name: Name


class TriggerSection(TriggerPut):
    """What starts a run by itself: a data condition and a quality condition, a pause, a budget."""

    name: Name
    pipeline: str = Field(
        default="",
        pattern=text_form(r"^([a-z0-9][a-z0-9._-]{0,62})?$", "the name of a pipeline"),
        description="Default: this one.",
    )


class PipelineSpec(Body):
    """The whole loop. Sections that are left out are left out of the run."""

    version: Literal[1] = Field(default=1, description="Version of this format.")
    name: Name
    description: str = Field(default="", max_length=2000)
    model: Reference | None = Field(default=None, description="Base model version, such as `smollm2@1`.")
    prompt: Annotated[
        PromptSection | Reference | None,
        Field(default=None, description="A prompt to keep here, or a reference to one that is there."),
    ]
    data: DataSection | None = None
    tuning: TuningSection | None = None
    evals: list[EvalSection] = Field(default_factory=list)
    release: ReleaseSection | None = None
    gates: list[GateSection] = Field(default_factory=list)
    environments: list[
        Annotated[EnvironmentSection, BeforeValidator(_named, json_schema_input_type=str | EnvironmentSection)]
    ] = Field(default_factory=list)
    monitors: list[DriftMonitorCreate] = Field(default_factory=list, description="Drift monitors.")
    slos: list[SloSection] = Field(default_factory=list, description="Service level objectives.")
    kpis: list[KpiSection] = Field(default_factory=list, description="Indicators: scores and feedback over time.")
    triggers: list[TriggerSection] = Field(default_factory=list, description="What starts a run by itself.")

    @property
    def watches(self) -> bool:
        """Whether anything is to be watched."""
        return bool(self.monitors or self.slos or self.kpis or self.triggers)
