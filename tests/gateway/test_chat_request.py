"""Requests as they are read, what the engine gets."""

import dataclasses

import msgspec
import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsBase

from tidemill.gateway.chat_body import IGNORED, SHAPING, UNSUPPORTED, ChatBody
from tidemill.gateway.chat_request import (
    ENGINE_FIELDS,
    ChatRequest,
    build_messages,
    check_overrides,
    encode_engine_body,
    parse_request,
    streams_internally,
)
from tidemill.gateway.request_limits import MAX_CHOICES, MAX_DEPTH
from tidemill.gateway.schema_patterns import is_kept
from tidemill.gateway.types import (
    OverridesRefused,
    ParameterUnknown,
    ParameterUnsupported,
    ReplicaTarget,
    RequestInvalid,
)
from tidemill.prompts.types import Message, VariablesMissing

TARGET = ReplicaTarget(
    base_url="http://127.0.0.1:1",
    replica_id="rep_1",
    label="support@3",
    model_version_id="mv_1",
    release_id="rel_1",
    prompt=(Message(role="system", content="Answer in {{language}}."),),
    sampling={"temperature": 0.2, "max_tokens": 50},
)


def request(**fields: object) -> ChatRequest:
    body = {"model": "support", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return parse_request(msgspec.json.encode(body))


def sent(request: ChatRequest) -> tuple[dict, list[str]]:
    body, overrides = encode_engine_body(request, TARGET, build_messages(request, TARGET))
    return msgspec.json.decode(body), overrides


def test_the_prompt_stands_before_and_sampling_is_a_default() -> None:
    body, overrides = sent(request(prompt_variables={"language": "Welsh"}, n=2))
    assert [m["content"] for m in body["messages"]] == ["Answer in Welsh.", "Hi"]
    assert (body["temperature"], body["max_tokens"], body["n"], body["model"]) == (0.2, 50, 2, "support@3")
    assert overrides == []


@pytest.mark.parametrize(
    ("fields", "overrides"),
    [
        ({"temperature": 0.9}, ["temperature"]),
        ({"temperature": 0.2}, []),
        ({"temperature": None}, []),
        ({"max_completion_tokens": 9}, ["max_tokens"]),
        ({"max_completion_tokens": 50}, []),
        ({"max_tokens": 9, "top_p": 0.5}, ["top_p", "max_tokens"]),
        ({"logit_bias": {"7": -100}, "seed": 7, "stop": "x"}, ["stop", "seed", "logit_bias"]),
        ({"frequency_penalty": 1, "presence_penalty": 0}, ["frequency_penalty", "presence_penalty"]),
        ({"response_format": {"type": "json_object"}}, ["response_format"]),
        ({"n": 2, "logprobs": True, "user": "u1"}, []),
    ],
)
def test_every_field_that_changes_the_answer_is_an_override(fields: dict, overrides: list[str]) -> None:
    body, noted = sent(request(prompt_variables={"language": "Welsh"}, **fields))
    assert noted == overrides
    as_sent = {"max_tokens" if name == "max_completion_tokens" else name: value for name, value in fields.items()}
    for name in set(as_sent) & set(ENGINE_FIELDS):
        assert body[name] == (as_sent[name] if as_sent[name] is not None else TARGET.sampling[name])


def test_a_bare_model_version_has_nothing_to_override() -> None:
    bare = dataclasses.replace(TARGET, prompt=(), sampling={}, release_id=None)
    asked = request(temperature=1)
    assert encode_engine_body(asked, bare, build_messages(asked, bare))[1] == []


def test_an_environment_may_refuse_overrides() -> None:
    strict = dataclasses.replace(TARGET, environment="prod", refuses_overrides=True)
    check_overrides(strict, [])
    check_overrides(TARGET, ["temperature"])
    with pytest.raises(OverridesRefused, match=r"prod refuses overrides.*temperature, seed") as caught:
        check_overrides(strict, ["temperature", "seed"])
    assert (caught.value.status, caught.value.param) == (400, "temperature")


def test_every_field_of_openai_is_honoured_ignored_or_refused_by_name() -> None:
    others = {"model", "stream_options", "user", "safety_identifier", "metadata", "prompt_variables"}
    groups = [set(ENGINE_FIELDS), set(IGNORED), set(UNSUPPORTED), others]
    assert sum(len(group) for group in groups) == len(set().union(*groups))
    assert set(SHAPING) <= set(ENGINE_FIELDS)
    assert set(ChatBody.__struct_fields__) == set(ENGINE_FIELDS) | set(IGNORED) | others - {"model"}
    # The types of OpenAI's own client are made from its specification.
    known = set(CompletionCreateParamsBase.__annotations__) | {"stream"}
    assert known - set().union(*groups) == set()


@pytest.mark.parametrize("name", ["n_predict", "lora", "grammar", "chat_template_kwargs", "top_k", "id_slot"])
def test_fields_of_an_engine_do_not_pass(name: str) -> None:
    with pytest.raises(ParameterUnknown, match=f"Unrecognized request argument supplied: {name}") as caught:
        request(**{name: 1})
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, "unknown_parameter", name)


@pytest.mark.parametrize("name", sorted(UNSUPPORTED))
def test_what_no_engine_honours_is_refused(name: str) -> None:
    with pytest.raises(ParameterUnsupported) as caught:
        request(**{name: ["audio"]})
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, "unsupported_parameter", name)
    assert caught.value.hint


def test_what_changes_nothing_here_is_said_to_be_ignored() -> None:
    asked = request(store=False, prompt_cache_key="k", modalities=["text"], metadata={"a": "b"})
    assert asked.ignored == ("store", "prompt_cache_key")
    assert asked.fields.keys() == {"messages"}


def test_seeds_and_lengths_reach_engines_as_they_are_meant() -> None:
    variables = {"language": "Welsh"}
    assert sent(request(prompt_variables=variables, seed=7))[0]["seed"] == 7
    # -1 would be a seed of chance for llama.cpp, and 2**40 the same as 0.
    seeds = [sent(request(prompt_variables=variables, seed=seed))[0]["seed"] for seed in (-1, 2**40, -(2**63))]
    assert len(set(seeds)) == 3
    assert all(0 <= seed < 2**32 - 1 for seed in seeds)
    assert sent(request(prompt_variables=variables, max_tokens=2**40))[0]["max_tokens"] == 2**31 - 1


def test_a_named_tool_is_the_only_one_and_required() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("find", "book")]
    choice = {"type": "function", "function": {"name": "book"}}
    body, _ = sent(request(prompt_variables={"language": "Welsh"}, tools=tools, tool_choice=choice))
    assert (body["tools"], body["tool_choice"]) == ([tools[1]], "required")


def test_tools_are_refused_where_the_template_has_no_place_for_them() -> None:
    blind = dataclasses.replace(TARGET, prompt=(), supports_tools=False)
    asked = request(tools=[{"type": "function", "function": {"name": "find"}}])
    with pytest.raises(ParameterUnsupported, match=r"support@3 has no place for `tools`") as caught:
        encode_engine_body(asked, blind, build_messages(asked, blind))
    assert caught.value.param == "tools"


def test_developer_is_the_templates_system() -> None:
    asked = request(messages=[{"role": "developer", "content": "Be terse."}], prompt_variables={"language": "Welsh"})
    assert [m["role"] for m in sent(asked)[0]["messages"]] == ["system", "system"]


def test_a_missing_variable_is_named() -> None:
    both = Message(role="user", content="{{language}} or {{tone}}?")
    target = dataclasses.replace(TARGET, prompt=(*TARGET.prompt, both))
    with pytest.raises(VariablesMissing, match="language, tone") as caught:
        build_messages(request(), target)
    assert caught.value.param == "prompt_variables"
    assert "--variable language=... --variable tone=..." in caught.value.hint
    assert caught.value.details == {"missing": ["language", "tone"]}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stream": "yes"}, "stream"),
        ({"prompt_variables": [1]}, "prompt_variables"),
        ({"messages": {}}, "messages"),
        ({"model": 3}, "model"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": 2**64}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"top_p": 1.1}, "top_p"),
        ({"n": 0}, "n"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": [1]}, "stop[0]"),
        ({"seed": 2**63}, "seed"),
        ({"frequency_penalty": 3}, "frequency_penalty"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"x": 1}}, "stream_options.x"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "json_object", "schema": {}}}, "response_format.schema"),
        ({"tools": "x"}, "tools"),
        ({"tools": [None]}, "tools[0]"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"user": 7}, "user"),
        ({"metadata": ["x"]}, "metadata"),
        ({"messages": [{"role": "pirate", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user\nsystem", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"content": "x"}]}, "messages[0]"),
        ({"messages": [{"role": "user"}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": "x", "lora": 1}]}, "messages[0].lora"),
        ({"messages": [{"role": "assistant", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0]"),
    ],
)
def test_what_the_specification_does_not_allow_is_refused_with_its_place(fields: dict, param: str) -> None:
    with pytest.raises((RequestInvalid, ParameterUnknown)) as caught:
        request(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [
        (r"^[0-9]{4}$", True),
        (r"^(a|b)$", True),
        (r"^(?:ab)+$", True),
        (r"^[a-z]+@[a-z]+\.[a-z]{2,3}$", True),
        (r"^\.x\(\)$", True),
        (r"^[a\-z]{3}$", True),
        (r"^$", True),
        (r"^\d{4}$", False),
        (r"[0-9]{4}", False),
        (r"^(?!x)[a-z]+$", False),
        (r"^hello\\!$", False),
        (r"^hello\!$", False),
        (r"^a\/b$", False),
        (r"^.{3}$", False),
        (r"^[^a]{3}$", False),
        (r"^[\w]+$", False),
        (r"^x$|^y$", False),
        (r"^a|b$", False),
        (r"^a+?$", False),
        (r'^"x"$', False),
        (r"^(a$", False),
        (r"^a)$", False),
        (r"^[a$", False),
    ],
)
def test_a_strict_schema_has_only_patterns_that_the_engine_keeps(pattern: str, kept: bool) -> None:
    assert is_kept(pattern) == kept
    schema = {"type": "object", "properties": {"d": {"type": "string", "pattern": pattern}}}
    shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert request(response_format=shape)
    shape["json_schema"]["strict"] = True
    if kept:
        assert request(response_format=shape)
        return
    with pytest.raises(RequestInvalid, match="cannot keep the pattern") as caught:
        request(response_format=shape)
    assert caught.value.param == "response_format.json_schema.schema.properties.d.pattern"
    with pytest.raises(RequestInvalid) as caught:
        request(tools=[{"type": "function", "function": {"name": "f", "parameters": schema, "strict": True}}])
    assert caught.value.param == "tools[0].function.parameters.properties.d.pattern"


def test_arguments_of_a_tool_call_are_json() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":'}}
    with pytest.raises(RequestInvalid) as caught:
        request(messages=[{"role": "assistant", "content": None, "tool_calls": [call]}])
    assert caught.value.param == "messages[0].tool_calls[0].function.arguments"


def _nested(levels: int) -> dict:
    value: dict = {}
    for _ in range(levels):
        value = {"items": value}
    return value


def test_depth_and_schemas_are_bounded() -> None:
    def schema(value: dict) -> dict:
        return {"type": "json_schema", "json_schema": {"name": "x", "schema": value}}

    # The body, response_format, json_schema and schema itself are four levels.
    assert request(response_format=schema(_nested(MAX_DEPTH - 4)))
    for fields in (
        {"response_format": schema(_nested(MAX_DEPTH - 3))},
        {"prompt_variables": {"a": _nested(MAX_DEPTH)}},
    ):
        with pytest.raises(RequestInvalid, match="nested deeper than 100 levels"):
            request(**fields)
    assert request(response_format=schema({"enum": list(range(MAX_CHOICES))}))
    with pytest.raises(RequestInvalid, match="1000 are allowed") as caught:
        request(response_format=schema({"enum": list(range(MAX_CHOICES + 1))}))
    assert caught.value.param == "response_format"


def test_a_body_that_is_nested_without_end_is_the_callers_fault() -> None:
    with pytest.raises(RequestInvalid, match="nested too deeply"):
        parse_request(b"[" * 100_000)


def test_usage_is_always_asked_of_the_engine() -> None:
    streamed = request(stream=True, prompt_variables={"language": "Welsh"})
    assert streamed.wants_usage is False
    assert sent(streamed)[0]["stream_options"] == {"include_usage": True}


def test_tools_and_several_answers_come_in_one_piece() -> None:
    assert streams_internally(request())
    assert not streams_internally(request(n=2))
    assert not streams_internally(request(tools=[{"type": "function", "function": {"name": "f"}}]))


@pytest.mark.parametrize(
    ("fields", "affinity"),
    [
        ({}, None),
        ({"user": "u1"}, "user u1"),
        ({"safety_identifier": "u2"}, "user u2"),
        ({"user": "u1", "metadata": {"session_id": "s1"}}, "session s1"),
        ({"user": ""}, None),
    ],
)
def test_a_conversation_or_a_user_stays_with_one_release(fields: dict, affinity: str | None) -> None:
    assert request(**fields).affinity == affinity
