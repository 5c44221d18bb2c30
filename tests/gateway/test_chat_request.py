"""Requests as they are read, what the engine gets."""

import msgspec
import pytest

from tidemill.gateway.chat_request import (
    ChatRequest,
    build_messages,
    encode_engine_body,
    parse_request,
    streams_internally,
)
from tidemill.gateway.types import ReplicaTarget, RequestInvalid
from tidemill.prompts.types import Message, VariablesMissing

TARGET = ReplicaTarget(
    base_url="http://127.0.0.1:1",
    replica_id="rep_1",
    label="support@3",
    model_version_id="mv_1",
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
    body, overrides = sent(request(prompt_variables={"language": "Welsh"}, top_k=7))
    assert [m["content"] for m in body["messages"]] == ["Answer in Welsh.", "Hi"]
    assert (body["temperature"], body["max_tokens"], body["top_k"], body["model"]) == (0.2, 50, 7, "support@3")
    assert overrides == []


@pytest.mark.parametrize(
    ("fields", "overrides"),
    [
        ({"temperature": 0.9}, ["temperature"]),
        ({"temperature": 0.2}, []),
        ({"max_completion_tokens": 9}, ["max_tokens"]),
        ({"max_tokens": 9, "top_p": 0.5}, ["max_tokens"]),
    ],
)
def test_what_the_caller_changes_is_noted(fields: dict, overrides: list[str]) -> None:
    body, noted = sent(request(prompt_variables={"language": "Welsh"}, **fields))
    assert noted == overrides
    assert {name: body[name] for name in fields} == fields


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(VariablesMissing, match="language"):
        sent(request())


@pytest.mark.parametrize("fields", [{"stream": "yes"}, {"prompt_variables": [1]}, {"messages": {}}, {"model": 3}])
def test_wrong_kinds_are_refused(fields: dict) -> None:
    with pytest.raises(RequestInvalid):
        request(**fields)


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
    assert not streams_internally(request(tools=[{"type": "function"}]))


@pytest.mark.parametrize(
    ("fields", "affinity"),
    [
        ({}, None),
        ({"user": "u1"}, "user u1"),
        ({"safety_identifier": "u2"}, "user u2"),
        ({"user": "u1", "metadata": {"session_id": "s1"}}, "session s1"),
        ({"user": 7, "metadata": ["x"]}, None),
        ({"user": ""}, None),
    ],
)
def test_a_conversation_or_a_user_stays_with_one_release(fields: dict, affinity: str | None) -> None:
    assert request(**fields).affinity == affinity
