"""The body of a chat completion as OpenAI's specification has it, as far as own engines honour it.

`check_fields` refuses everything else by name: a field that passed unseen could change a release's answers.
"""

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from tidemill.core.errors import BadRequest, nearest
from tidemill.gateway.types import ParameterUnknown, ParameterUnsupported, RequestInvalid

IGNORED = ("store", "service_tier", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "prediction")
"""Fields that change no answer here: accepted, not sent to the engine, and named in the response's headers."""

SHAPING = (
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "response_format",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
)
"""Fields that change what a release answers: what the caller sets is recorded as an override."""

UNSUPPORTED = {
    "reasoning_effort": "Engines here run without reasoning.",
    "verbosity": "Say in a message how long the answer should be.",
    "modalities": 'Engines here write text; leave it out or send ["text"].',
    "audio": "Engines here write text.",
    "web_search_options": "Engines here search nothing.",
    "moderation": "Score the answers with an online scorer instead.",
    "functions": "Send `tools`, which replace them.",
    "function_call": "Send `tool_choice`, which replaces it.",
}
"""Fields that OpenAI knows and no engine here honours, each with what to do instead."""

_IDENTIFIER = r"^[a-zA-Z0-9_-]{1,64}$"
_INT64 = 2**63

Int64 = Annotated[int, Meta(ge=-_INT64, le=_INT64 - 1)]
TokenCount = Annotated[int, Meta(ge=1, le=_INT64 - 1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Identifier = Annotated[str, Meta(pattern=_IDENTIFIER)]
Text = Annotated[str, Meta(min_length=1)]


class _Strict(Struct, forbid_unknown_fields=True):
    """A value without fields that the specification does not name."""


class TextPart(_Strict, tag_field="type", tag="text"):
    """A text part; parts of other kinds are not for engines that read text."""

    text: str
    prompt_cache_breakpoint: Any = None


Content = str | Annotated[list[TextPart], Meta(min_length=1)]


class _FunctionCall(_Strict):
    name: str
    arguments: str


class _ToolCall(_Strict):
    id: str
    type: Literal["function"]
    function: _FunctionCall
    index: int | None = None


class _System(_Strict, tag_field="role", tag="system"):
    content: Content
    name: str | None = None


class _Developer(_Strict, tag_field="role", tag="developer"):
    content: Content
    name: str | None = None


class _User(_Strict, tag_field="role", tag="user"):
    content: Content
    name: str | None = None


class _Assistant(_Strict, tag_field="role", tag="assistant"):
    content: Content | None = None
    name: str | None = None
    tool_calls: Annotated[list[_ToolCall], Meta(min_length=1)] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    audio: Any = None
    annotations: Any = None
    function_call: Any = None


class _ToolMessage(_Strict, tag_field="role", tag="tool"):
    content: Content
    tool_call_id: str
    name: str | None = None


Message = _System | _Developer | _User | _Assistant | _ToolMessage


class _Function(_Strict):
    name: Identifier
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Tool(_Strict):
    type: Literal["function"]
    function: _Function


class _NamedFunction(_Strict):
    name: str


class _NamedTool(_Strict):
    type: Literal["function"]
    function: _NamedFunction


class _PlainFormat(_Strict, tag_field="type", tag="text"):
    pass


class _JsonFormat(_Strict, tag_field="type", tag="json_object"):
    pass


class _JsonSchema(_Strict):
    name: Identifier
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class _SchemaFormat(_Strict, tag_field="type", tag="json_schema"):
    json_schema: _JsonSchema


class _StreamOptions(_Strict):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ChatBody(Struct):
    """The fields of a request that are read here or by an engine, with the specification's ranges."""

    messages: list[Message]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_tokens: TokenCount | None = None
    max_completion_tokens: TokenCount | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    stop: Text | Annotated[list[Text], Meta(max_length=4)] | None = None
    seed: Int64 | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: dict[Annotated[int, Meta(ge=0)], Annotated[float, Meta(ge=-100, le=100)]] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    response_format: _PlainFormat | _JsonFormat | _SchemaFormat | None = None
    tools: Annotated[list[_Tool], Meta(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | _NamedTool | None = None
    parallel_tool_calls: bool | None = None
    user: str | None = None
    safety_identifier: Annotated[str, Meta(max_length=64)] | None = None
    metadata: (
        Annotated[dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)]
        | None
    ) = None
    prompt_variables: dict[str, Any] | None = None
    """Tidemill's own: the values for the release's prompt."""
    store: bool | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prediction: dict[str, Any] | None = None


_KNOWN = frozenset({"model", *ChatBody.__struct_fields__})
_PLACE = re.compile(r"^(?P<fault>.*) - at (?:`key` in )?`\$\.?(?P<place>.*?)(?:\[\.\.\.\])*`$", re.DOTALL)
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<name>.*)`$", re.DOTALL)


def check_fields(fields: dict[str, Any]) -> ChatBody:
    """Return the checked form of `fields`, in which nothing is null.

    Raises ParameterUnknown, ParameterUnsupported, and RequestInvalid with the place of the fault as `param`.
    """
    for name in fields:
        if name in UNSUPPORTED:
            raise ParameterUnsupported(f"`{name}` is not supported here.", hint=UNSUPPORTED[name], param=name)
        if name not in _KNOWN:
            raise _unknown_field(name, name)
    try:
        body = msgspec.convert(fields, ChatBody, str_keys=True)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    _check_together(body)
    return body


def _unknown_field(name: str, param: str) -> ParameterUnknown:
    near = nearest(name, sorted(_KNOWN), count=1)
    hint = f"Did you mean {near[0]}?" if near else "The gateway's guide lists what a request may have."
    return ParameterUnknown(f"Unrecognized request argument supplied: {name[:200]}", hint=hint, param=param[:200])


def _invalid(text: str) -> BadRequest:
    place = _PLACE.match(text)
    param, text = (place["place"], place["fault"]) if place is not None else ("", text)
    unknown = _UNKNOWN.match(text)
    if unknown is not None:
        return _unknown_field(unknown["name"], f"{param}.{unknown['name']}".lstrip("."))
    hint = None
    if param.endswith(".type") and ".content[" in param:
        hint = "Engines here read text: send parts of type text."
    elif param.endswith(".role"):
        hint = "Roles are system, developer, user, assistant and tool."
    return RequestInvalid(f"`{param or 'body'}`: {text}.", hint=hint, param=param or None)


def _check_together(body: ChatBody) -> None:
    """Check what depends on more than one field."""
    if body.stream_options is not None and not body.stream:
        raise RequestInvalid("`stream_options` is for streams.", hint="Set `stream` to true.", param="stream_options")
    if body.top_logprobs is not None and not body.logprobs:
        raise RequestInvalid("`top_logprobs` needs `logprobs`.", hint="Set `logprobs` to true.", param="top_logprobs")
    if not body.tools:
        for name in ("tool_choice", "parallel_tool_calls"):
            if getattr(body, name) not in (None, "none"):
                raise RequestInvalid(f"`{name}` is for requests with `tools`.", hint="Send `tools`, too.", param=name)
    if isinstance(body.tool_choice, _NamedTool):
        name = body.tool_choice.function.name
        if name not in [tool.function.name for tool in body.tools or []]:
            raise RequestInvalid(f"`tool_choice` names {name!r}, which `tools` has not.", param="tool_choice")
    for index, message in enumerate(body.messages):
        if isinstance(message, _Assistant):
            _check_assistant(message, f"messages[{index}]")


def _check_assistant(message: _Assistant, place: str) -> None:
    if message.content is None and message.tool_calls is None and message.refusal is None:
        raise RequestInvalid(
            f"`{place}` has neither `content` nor `tool_calls`.",
            hint="Send the assistant's text, or leave the message out.",
            param=f"{place}.content",
        )
    for index, call in enumerate(message.tool_calls or []):
        try:
            msgspec.json.decode(call.function.arguments)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise RequestInvalid(
                "The arguments of a tool call are not JSON.",
                hint="Send them as the model wrote them, such as {}.",
                param=f"{place}.tool_calls[{index}].function.arguments",
            ) from error
