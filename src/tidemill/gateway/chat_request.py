"""A chat request: parsed from what the caller sent, and encoded for the engine."""

from dataclasses import dataclass
from typing import Any

import msgspec

from tidemill.gateway.chat_body import IGNORED, SHAPING, check_fields
from tidemill.gateway.request_limits import check_depth, check_schemas
from tidemill.gateway.schema_patterns import check_patterns
from tidemill.gateway.types import OverridesRefused, ParameterUnsupported, ReplicaTarget, RequestInvalid
from tidemill.prompts import service as prompts
from tidemill.prompts.types import VariablesMissing

PROGRESS_OPTION = "return_progress"
MAX_NAME_LENGTH = 200
"""Longer names of users and sessions are cut."""

ENGINE_FIELDS = ("messages", "stream", "n", "logprobs", "top_logprobs", *SHAPING)
"""The fields that engines honour."""

_INT32_MAX = 2**31 - 1
_SEEDS = 2**32 - 1


@dataclass(frozen=True)
class ChatRequest:
    """One chat completion request, checked against OpenAI's specification."""

    model: str
    stream: bool
    wants_usage: bool
    variables: dict[str, str]
    fields: dict[str, Any]
    """What goes on to the engine: all fields that it honours, without nulls."""
    ignored: tuple[str, ...] = ()
    """The fields of the body that have no effect here."""
    user: str | None = None
    """The caller's own user, from `user` or `safety_identifier`."""
    session: str | None = None
    """The conversation, from `metadata.session_id`."""

    @property
    def affinity(self) -> str | None:
        """Return what stays on one release during a rollout: the conversation, else the user; None for neither."""
        if self.session is not None:
            return f"session {self.session}"
        return f"user {self.user}" if self.user is not None else None


def parse_request(body: bytes, user: str | None = None, session: str | None = None) -> ChatRequest:
    """Parse `body`; `user` and `session` come from the headers and override the body's.

    A field that is null counts as not sent. Raises RequestInvalid, ParameterUnknown, ParameterUnsupported.
    """
    fields = {name: value for name, value in _decode(body).items() if value is not None}
    model = fields.pop("model", None)
    if not isinstance(model, str) or not model:
        raise RequestInvalid(
            "`model` is missing." if model is None else f"`model` is {repr(model)[:200]}, not a name.",
            hint="`GET /v1/models` lists what can be asked for.",
            param="model",
        )
    if fields.get("modalities") == ["text"]:
        del fields["modalities"]
    if not isinstance(fields.get("messages"), list):
        raise RequestInvalid(
            "`messages` is not a list of messages.",
            hint='Send [{"role": "user", "content": "…"}].',
            param="messages",
        )
    check_depth(body, fields)
    checked = check_fields(fields)
    check_schemas(fields)
    check_patterns(fields)
    sent_on = {name: fields[name] for name in ENGINE_FIELDS if name in fields}
    metadata = checked.metadata or {}
    return ChatRequest(
        model=model,
        stream=bool(checked.stream),
        wants_usage=bool(checked.stream_options and checked.stream_options.include_usage),
        variables=_variables(checked.prompt_variables or {}),
        fields=sent_on,
        ignored=tuple(name for name in IGNORED if name in fields),
        user=_clip(user) or _clip(checked.user) or _clip(checked.safety_identifier),
        session=_clip(session) or _clip(metadata.get("session_id")),
    )


def _decode(body: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise RequestInvalid(f"The body is not JSON: {error}.", hint="Send one JSON object in UTF-8.") from error
    except RecursionError as error:
        raise RequestInvalid(
            "The body is nested too deeply.", hint="Send fewer levels of lists and objects."
        ) from error
    if not isinstance(fields, dict):
        raise RequestInvalid(
            f"The body is a JSON {type(fields).__name__}, not an object.", hint='Send {"model": …, "messages": …}.'
        )
    return fields


def _clip(value: str | None) -> str | None:
    return value[:MAX_NAME_LENGTH] if value else None


def _variables(variables: dict[str, Any]) -> dict[str, str]:
    return {
        name: value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for name, value in variables.items()
    }


def build_messages(request: ChatRequest, target: ReplicaTarget) -> list[dict[str, Any]]:
    """Return the messages for the engine: the release's prompt, then the caller's messages.

    Raises VariablesMissing, and RequestInvalid when neither caller nor release brings a message.
    """
    prompt = _fill_prompt(request, target)
    messages: list[dict[str, Any]] = prompt + request.fields["messages"]
    if not messages:
        raise RequestInvalid("`messages` is empty.", hint="Send at least one message.", param="messages")
    return messages


def _fill_prompt(request: ChatRequest, target: ReplicaTarget) -> list[dict[str, Any]]:
    try:
        return [message.model_dump() for message in prompts.fill(target.prompt, request.variables)]
    except VariablesMissing as error:
        missing = (error.details or {})["missing"]
        options = " ".join(f"--variable {name}=..." for name in missing)
        raise VariablesMissing(
            error.message,
            hint=f"Send `prompt_variables` with them; with `tidemill ask`: {options}",
            param="prompt_variables",
            details=error.details,
        ) from error


def encode_engine_body(
    request: ChatRequest, target: ReplicaTarget, messages: list[dict[str, Any]]
) -> tuple[bytes, list[str]]:
    """Return the body for the engine as JSON, and which fields the caller sets other than the release has them.

    A bare model version has set nothing, so nothing of it is overridden.
    Raises ParameterUnsupported when the engine does not honour a field.
    """
    if request.fields.get("tools") and not target.supports_tools:
        raise ParameterUnsupported(
            f"The chat template of {target.label} has no place for `tools`: the model would not see them.",
            hint="Ask a model whose template takes tools, or describe what is to be done in a message.",
            param="tools",
        )
    fields = dict(request.fields)
    if "max_completion_tokens" in fields:
        fields["max_tokens"] = fields.pop("max_completion_tokens")
    merged = {**target.sampling, **fields}
    overrides = []
    if target.release_id is not None:
        overrides = [
            name for name in SHAPING if name in fields and not _equals(fields[name], target.sampling.get(name))
        ]
    if "max_tokens" in merged:
        merged["max_tokens"] = min(merged["max_tokens"], _INT32_MAX)
    if "seed" in merged:
        # Engines read 32 bits, and the highest of these numbers means a seed of chance.
        merged["seed"] %= _SEEDS
    choice = merged.get("tool_choice")
    if isinstance(choice, dict):
        # Engines know no named function: the one that is named is the only one, and required.
        name = choice["function"]["name"]
        merged["tools"] = [tool for tool in merged["tools"] if tool["function"]["name"] == name]
        merged["tool_choice"] = "required"
    merged["messages"] = [_for_engine(message) for message in messages]
    merged["model"] = target.label
    if request.stream or streams_internally(request):
        merged["stream"] = True
        merged["stream_options"] = {"include_usage": True}
        # llama.cpp says the length of the prompt before the first token: a caller who hangs up pays for it too.
        merged[PROGRESS_OPTION] = True
    return msgspec.json.encode(merged), overrides


def _equals(value: object, frozen: object) -> bool:
    """Return whether both mean the same: one stop sequence is a list of one."""
    if isinstance(value, str) and isinstance(frozen, list):
        value = [value]
    return value == frozen


def _for_engine(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message as chat templates know it: `developer` is OpenAI's newer word for `system`."""
    return {**message, "role": "system"} if message["role"] == "developer" else message


def check_overrides(target: ReplicaTarget, overrides: list[str]) -> None:
    """Raise OverridesRefused when there are overrides and the environment of `target` refuses them."""
    if overrides and target.refuses_overrides:
        raise OverridesRefused(
            f"{target.environment} refuses overrides of a release, and the request sets {', '.join(overrides)}.",
            hint=f"Leave it out, or freeze it in a new release. {target.label} answers with what it has frozen.",
            param=overrides[0],
        )


def streams_internally(request: ChatRequest) -> bool:
    """Return whether a response in one piece is requested from the engine as a stream and accumulated here.

    llama.cpp notices a disconnect only while it writes, so without a stream it would generate to the end for nobody.
    """
    return not request.stream and not request.fields.get("tools") and request.fields.get("n") in (None, 1)
