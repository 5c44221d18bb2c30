"""What the registry keeps: models, their versions, what each was made from, and the aliases that point at them."""

from typing import Any, Literal

from pydantic import Field

from tidemill.core.errors import Conflict, Invalid, NotFound
from tidemill.core.value_faults import text_form
from tidemill.core.wire import Body, Instant, Name, Value

Kind = Literal["base", "adapter", "tuned", "merged", "quantised"]
"""`base` came from outside; `adapter` is a LoRA; `tuned` is fully fine-tuned; `merged` is base + adapter."""

Format = Literal["gguf", "safetensors", "peft"]

Relation = Literal[
    "adapter_of", "finetuned_from", "merged_from", "converted_from", "quantised_from", "trained_by", "trained_on"
]
"""How a version came from a parent. The last two may name a tuning run and a dataset version."""

LATEST = "latest"
"""Always means the newest version. Nobody moves it by hand."""


class ModelFile(Value):
    """One file of a version. Its bytes are the blob named by `hash`."""

    path: str = Field(
        description="Path inside the model's folder, with forward slashes; no part begins with a dot.",
        pattern=text_form(
            r"^[A-Za-z0-9_][A-Za-z0-9_.+=, -]*(/[A-Za-z0-9_][A-Za-z0-9_.+=, -]*)*$",
            "a path within the folder: letters, digits and _ . + = , - and blanks, no step upwards",
        ),
        max_length=240,
    )
    hash: str = Field(description="`sha256:<hex>` of the bytes.", pattern=r"^sha256:[0-9a-f]{64}$")
    size: int = Field(description="Bytes.", ge=0)


class ModelFacts(Value):
    """What the files themselves say. A fact that they do not state is null."""

    architecture: str | None = Field(default=None, description="Such as `llama`.")
    parameters: int | None = Field(default=None, description="Number of weights over all tensors.")
    tensors: int | None = Field(default=None, description="Number of tensors.")
    layers: int | None = Field(default=None, description="Number of transformer blocks.")
    context_length: int | None = Field(default=None, description="Longest context in tokens.")
    vocabulary: int | None = Field(default=None, description="Number of tokens the model knows.")
    quantisation: str | None = Field(default=None, description="Such as `Q8_0`, `F16`, `BF16`.")
    base_model: str | None = Field(default=None, description="What an adapter says it was trained on.")
    lora_rank: int | None = Field(default=None, description="Rank of an adapter.")
    lora_alpha: float | None = Field(default=None, description="Scale of an adapter.")
    target_modules: list[str] = Field(default_factory=list, description="Layers that an adapter changes.")


class Card(Value):
    """The model card: prose in Markdown, and metadata with Hugging Face's names."""

    text: str = Field(default="", description="Markdown.")
    metadata: dict[str, Any] = Field(
        default_factory=dict,
        description="Hugging Face's ModelCardData keys, such as `tags`, `base_model`, `base_model_relation`.",
    )


class Parent(Value):
    """Something that a version was made from."""

    id: str = Field(description="Id in the lineage: a model version, or a tuning run or dataset version.")
    relation: Relation


class ParentRef(Body):
    """A parent as the caller names it."""

    version: str = Field(description="A model version (`name@3`, `name@alias`, `mv_…`), or a `tr_…` or `dsv_…` id.")
    relation: Relation


class ParityEvidence(Body):
    """The outcome of a parity proof: does this version answer as the one it was made from?"""

    passed: bool
    hop: str = Field(description="Which hop was proved, such as `merged -> gguf`.")
    against: str | None = Field(default=None, description="Id of the version that it was compared with.")
    summary: str = Field(description="One line for people.")
    report: dict[str, Any] = Field(default_factory=dict, description="The whole report, as figures.")


class ModelEvidence(Value):
    """Why a version may be served, or why not."""

    id: str
    version_id: str
    kind: Literal["import", "parity"] = Field(description="`import`: a base taken as is; `parity`: a parity proof.")
    passed: bool
    hop: str
    against: str | None
    summary: str
    report: dict[str, Any]
    at: Instant
    by: str


class Model(Value):
    """A model: its versions and aliases under one name."""

    id: str
    name: Name
    description: str
    versions: int = Field(description="Number of the newest version.")
    created_at: Instant
    created_by: str


class ModelVersion(Value):
    """One immutable version of a model. Only `servable` may change, and only through new evidence."""

    id: str
    model_id: str
    model: Name = Field(description="Name of the model.")
    number: int = Field(description="Counts from 1 within the model.")
    kind: Kind
    format: Format
    files: list[ModelFile] = Field(description="Sorted by path.")
    size: int = Field(description="Bytes of all files together.")
    content_hash: str = Field(description="Hash over every file's path and hash.")
    chat_template_hash: str | None = Field(description="Equal templates have equal hashes in every format.")
    facts: ModelFacts
    parents: list[Parent]
    licence: str | None = Field(description="SPDX identifier, such as `Apache-2.0`.")
    card: Card
    servable: bool = Field(description="True for an imported base, and after a passed parity proof.")
    created_at: Instant
    created_by: str
    files_removed_at: Instant | None = Field(
        default=None, description="When its files were removed to free space; what it is and came from stays known."
    )
    files_removed_why: str | None = Field(default=None, description="Why they were removed, and how to get them back.")

    @property
    def ref(self) -> str:
        """How a person names it, such as `smollm2@1`."""
        return f"{self.model}@{self.number}"


class VersionCreate(Body):
    """A new version: its files are blobs already."""

    model: Name
    kind: Kind = "base"
    files: list[ModelFile] = Field(min_length=1)
    parents: list[ParentRef] = Field(default_factory=list)
    licence: str | None = Field(default=None, description="SPDX identifier; by default what the files say.")
    card: Card | None = Field(default=None, description="By default made from the files.")
    description: str = Field(default="", description="Describes the model; used when the model is new.")


class AliasMove(Body):
    """Point an alias at a version."""

    version: str = Field(description="A number, an alias or an `mv_…` id of the same model.")
    reason: str = Field(min_length=1, max_length=2000, description="Why; kept in the history.")


class AliasRemove(Body):
    """The request to remove an alias."""

    reason: str = Field(min_length=1, max_length=2000, description="Why; kept in the history.")


class AliasChange(Value):
    """One entry in an alias's history: from `at` until the next entry it pointed there."""

    id: str
    model: Name
    alias: Name
    version_id: str | None = Field(description="Null when the alias was taken away.")
    number: int | None
    at: Instant
    by: str
    reason: str


class AliasHistory(Value):
    """Where an alias pointed, newest first."""

    model: Name
    alias: Name
    changes: list[AliasChange]


class EvidenceList(Value):
    """All evidence about one version, newest first."""

    items: list[ModelEvidence]


class ChatTemplate(Value):
    """The chat template that a version carries."""

    template: str | None
    hash: str | None


class ModelCard(Value):
    """A model card as a Markdown file with its metadata in front."""

    version: str
    markdown: str


class ModelNotFound(NotFound):
    """No model, version or alias of that name."""

    code = "model_version_not_found"


class InvalidModelReference(Invalid):
    """A reference that cannot be read."""

    code = "invalid_model_reference"


class UnsafeModelFile(Invalid):
    """A pickle or another file that could run code when it is loaded."""

    code = "unsafe_model_file"


class CorruptModelFile(Invalid):
    """A GGUF or safetensors file that does not hold what its header promises."""

    code = "corrupt_model_file"


class UnknownModelFormat(Invalid):
    """Files that are neither GGUF nor safetensors nor a PEFT adapter."""

    code = "unknown_model_format"


class ModelFilesMissing(Invalid):
    """Nothing to read, or files that the store does not have."""

    code = "model_files_missing"


class ModelFilesRemoved(Conflict):
    """The files of the version were removed to free space."""

    code = "model_files_removed"


class VersionDiffers(Conflict):
    """The same files are registered already, with other facts; a version never changes."""

    code = "version_differs"


class ModelInUse(Conflict):
    """Something was made from it or points at it."""

    code = "model_in_use"


class PackagedModelMissing(NotFound):
    """A packaged model whose package is not installed."""

    code = "packaged_model_missing"


class InvalidAlias(Invalid):
    """A name that cannot be an alias."""

    code = "invalid_alias"
