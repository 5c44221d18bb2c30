"""Prompts: what they hold, what is sent to make one, what can go wrong."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from tidemill.core.errors import Conflict, Invalid, NotFound
from tidemill.core.value_faults import text_form
from tidemill.core.wire import Body, Instant, Name, Value

Label = Annotated[
    str,
    StringConstraints(
        pattern=text_form(r"^[a-z][a-z0-9._-]{0,35}$", "a label: lower-case letters, digits and . _ -, first a letter")
    ),
]

LATEST = "latest"
"""The label that always stands on the newest version. Nobody moves it by hand."""

MAX_CHARS = 200_000
"""The longest prompt, all its messages together: some 50,000 tokens."""


class PromptNotFound(NotFound):
    """No such prompt, version or label."""

    code = "prompt_not_found"


class PromptUnchanged(Conflict):
    """The new version would say exactly what the newest one says."""

    code = "prompt_unchanged"


class PromptInvalid(Invalid):
    """The template cannot be used."""

    code = "prompt_invalid"


class VariablesMissing(Invalid):
    """The template needs values that were not given."""

    code = "prompt_variables_missing"


class LabelReserved(Invalid):
    """The label already means a version by itself: `latest` the newest, a number its own."""

    code = "label_reserved"


class Message(Value):
    """One message of a chat."""

    role: Literal["system", "user", "assistant", "tool", "developer"]
    content: str


class PromptCreate(Body):
    """A new version of a prompt: chat `messages` or a plain `text`, one of the two."""

    name: Name
    messages: list[Message] | None = Field(default=None, min_length=1, description="For a chat prompt.")
    text: str | None = Field(default=None, min_length=1, description="For a text prompt.")
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="Model parameters that travel with the version, such as temperature.",
    )
    note: str = Field(default="", max_length=2000, description="What changed and why.")
    labels: list[Label] = Field(default_factory=list, description="Labels to put on the new version.")

    @model_validator(mode="after")
    def _one_form(self) -> "PromptCreate":
        if (self.messages is None) == (self.text is None):
            raise ValueError("give either `messages` (chat) or `text`, not both and not neither")
        texts = [self.text or "", *(message.content for message in self.messages or [])]
        chars = sum(map(len, texts))
        if chars > MAX_CHARS:
            raise ValueError(f"a prompt has at most {MAX_CHARS:,} characters, and this one has {chars:,}")
        return self


class PromptVersion(Value):
    """One immutable version of a prompt."""

    id: str
    name: str
    number: int = Field(description="1, 2, 3 ... within the prompt.")
    kind: Literal["chat", "text"]
    messages: list[Message] | None
    text: str | None
    variables: list[str] = Field(description="Names in `{{...}}`, in order of appearance.")
    parameters: dict[str, Any]
    content_hash: str = Field(description="Over kind, messages or text, and parameters.")
    note: str
    labels: list[str] = Field(description="Labels that stand on this version now.")
    created_by: str
    created_at: Instant


class Prompt(Value):
    """A prompt with its newest version and the number of its versions."""

    name: str
    versions: int
    latest: PromptVersion


class LabelMove(Body):
    """Put a label on a version."""

    version: int = Field(ge=1)
    note: str = Field(default="", max_length=2000)


class LabelChange(Value):
    """One entry of a label's history."""

    id: str
    name: str
    label: str
    version: int
    before: int | None = Field(description="Where the label stood; null when it is new.")
    note: str
    changed_by: str
    changed_at: Instant


class RenderRequest(Body):
    """Values for the variables of a prompt."""

    variables: dict[str, str] = Field(default_factory=dict)


class Rendered(Value):
    """A prompt with its variables filled in."""

    version: PromptVersion
    messages: list[Message] | None
    text: str | None


class PromptDiff(Value):
    """How one version differs from another."""

    name: str
    before: int
    after: int
    lines: list[str] = Field(description="Unified diff of the template, line by line.")
    parameters_before: dict[str, Any]
    parameters_after: dict[str, Any]
    variables_added: list[str]
    variables_removed: list[str]
