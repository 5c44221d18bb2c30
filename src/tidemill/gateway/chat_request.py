"""A chat request: parsed from what the caller sent, and encoded for the engine."""

from dataclasses import dataclass
from typing import Any

import msgspec

from tidemill.gateway.types import ReplicaTarget, RequestInvalid
from tidemill.prompts import service as prompts

MAX_NAME_LENGTH = 200
"""Longer names of users and sessions are cut."""


@dataclass(frozen=True)
class ChatRequest:
    """One chat completion request, checked as far as the gateway needs it."""

    model: str
    stream: bool
    wants_usage: bool
    variables: dict[str, str]
    fields: dict[str, Any]
    """Everything else in the body, known here or not: it goes on to the engine."""
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
    """Parse `body`; `user` and `session` come from the headers and override the body's. Raises RequestInvalid."""
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestInvalid(f"The body is not JSON: {error}.", hint="Send one JSON object in UTF-8.") from error
    except RecursionError as error:
        raise RequestInvalid("The body is nested too deeply.", hint="Send less levels of lists and objects.") from error
    if not isinstance(fields, dict):
        raise RequestInvalid(
            f"The body is a JSON {type(fields).__name__}, not an object.", hint='Send {"model": …, "messages": …}.'
        )
    model = fields.pop("model", None)
    if not isinstance(model, str) or not model:
        raise RequestInvalid(
            "`model` is missing." if model is None else f"`model` is {model!r}, not a name.",
            hint="`GET /v1/models` lists what can be asked for.",
            param="model",
        )
    _check_messages(fields.get("messages"))
    stream = fields.get("stream") or False
    options = fields.pop("stream_options", None) or {}
    if not isinstance(stream, bool) or not isinstance(options, dict):
        raise RequestInvalid("`stream` is true or false, and `stream_options` an object.", param="stream")
    return ChatRequest(
        model=model,
        stream=stream,
        wants_usage=bool(options.get("include_usage")),
        variables=_variables(fields.pop("prompt_variables", None)),
        fields=fields,
        user=_clip(user) or _clip(fields.get("user")) or _clip(fields.get("safety_identifier")),
        session=_clip(session) or _session(fields.get("metadata")),
    )


def _clip(value: object) -> str | None:
    return value[:MAX_NAME_LENGTH] if isinstance(value, str) and value else None


def _session(metadata: object) -> str | None:
    return _clip(metadata.get("session_id")) if isinstance(metadata, dict) else None


def _check_messages(messages: object) -> None:
    if not isinstance(messages, list) or not all(isinstance(m, dict) and "role" in m for m in messages):
        raise RequestInvalid(
            "`messages` is not a list of messages.",
            hint='Send [{"role": "user", "content": "…"}].',
            param="messages",
        )


def _variables(variables: object) -> dict[str, str]:
    if variables is None:
        return {}
    if not isinstance(variables, dict):
        raise RequestInvalid("`prompt_variables` is not an object of names and values.", param="prompt_variables")
    return {
        name: value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for name, value in variables.items()
    }


def build_messages(request: ChatRequest, target: ReplicaTarget) -> list[dict[str, Any]]:
    """Return the messages for the engine: the release's prompt, then the caller's messages.

    Raises VariablesMissing, and RequestInvalid when neither caller nor release brings a message.
    """
    prompt = [m.model_dump() for m in prompts.fill(target.prompt, request.variables)] if target.prompt else []
    messages: list[dict[str, Any]] = prompt + request.fields["messages"]
    if not messages:
        raise RequestInvalid("`messages` is empty.", hint="Send at least one message.", param="messages")
    return messages


def encode_engine_body(
    request: ChatRequest, target: ReplicaTarget, messages: list[dict[str, Any]]
) -> tuple[bytes, list[str]]:
    """Return the body for the engine as JSON, and which of the release's sampling parameters the caller changed."""
    merged = {**target.sampling, **request.fields}
    overrides = [
        name for name, value in target.sampling.items() if name in request.fields and request.fields[name] != value
    ]
    if "max_completion_tokens" in request.fields and "max_tokens" in target.sampling:
        merged.pop("max_tokens")
        if request.fields["max_completion_tokens"] != target.sampling["max_tokens"]:
            overrides.append("max_tokens")
    merged["messages"] = messages
    merged["model"] = target.label
    if request.stream or streams_internally(request):
        merged["stream"] = True
        merged["stream_options"] = {"include_usage": True}
    return msgspec.json.encode(merged), sorted(set(overrides))


def streams_internally(request: ChatRequest) -> bool:
    """Return whether a response in one piece is requested from the engine as a stream and accumulated here.

    llama.cpp notices a disconnect only while it writes, so without a stream it would generate to the end for nobody.
    """
    return not request.stream and not request.fields.get("tools") and request.fields.get("n") in (None, 1)
