"""Chunks of streamed completions, put together."""

import weakref
from typing import Any

import pytest

from tidemill.gateway.accumulator import CompletionAccumulator
from tidemill.gateway.types import Usage


def _accumulate(*deltas: dict[str, Any], index: int = 0) -> CompletionAccumulator:
    accumulator = CompletionAccumulator()
    for delta in deltas:
        accumulator.add({"choices": [{"index": index, "delta": delta}]})
    return accumulator


def test_contents_are_joined() -> None:
    accumulator = _accumulate({"role": "assistant", "content": ""}, {"content": "Hel"}, {"content": "lo"})
    assert accumulator.messages() == [{"role": "assistant", "content": "Hello"}]
    assert accumulator.text() == "Hello"


def test_nothing_but_an_opening_is_no_answer() -> None:
    opening: dict[str, Any] = {"role": "assistant", "content": None}
    accumulator = _accumulate(opening)
    assert opening["content"] == ""
    assert (accumulator.messages(), accumulator.text(), accumulator.delta_count) == (None, "", 0)
    assert CompletionAccumulator().messages() is None


def test_contents_keep_their_order_whatever_comes_with_them() -> None:
    accumulator = _accumulate({"content": "a"}, {"content": "b", "reasoning_content": "why"}, {"content": "c"})
    assert accumulator.messages() == [{"role": "assistant", "content": "abc", "reasoning_content": "why"}]


def test_tool_calls_and_several_choices_are_put_together() -> None:
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": ""}}
    accumulator = _accumulate(
        {"role": "assistant", "content": None, "tool_calls": [first]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"q":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]},
    )
    second = {"index": 1, "delta": {"content": "Hi", "reasoning_content": "Well"}, "finish_reason": "stop"}
    accumulator.add({"choices": [second]})
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"q":1}'}}
    assert accumulator.messages() == [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "assistant", "content": "Hi", "reasoning_content": "Well"},
    ]
    assert [c["finish_reason"] for c in accumulator.completion()["choices"]] == [None, "stop"]


def test_what_comes_beside_the_role_is_kept() -> None:
    def opening(**more: Any) -> dict[str, Any]:
        return {"role": "assistant", "content": None, **more}

    thinking = _accumulate(opening(reasoning_content="Hm"), opening(reasoning_content="m"), {"content": "Hi"})
    assert thinking.messages() == [{"role": "assistant", "content": "Hi", "reasoning_content": "Hmm"}]
    refusing = _accumulate(opening(refusal="No."), opening(refusal=None, tool_calls=None))
    assert refusing.messages() == [{"role": "assistant", "content": "", "refusal": "No."}]
    assert refusing.delta_count == 1
    delta = opening(reasoning_content="Hm")
    _accumulate(delta)
    assert delta == {"role": "assistant", "content": "", "reasoning_content": "Hm"}


def test_tool_calls_without_an_index_are_told_apart_by_their_ids() -> None:
    def part(arguments: str, **more: Any) -> dict[str, Any]:
        return {"function": {"arguments": arguments, **({"name": "look"} if more else {})}, **more}

    def call(id: str, arguments: str) -> dict[str, Any]:
        return {"id": id, "type": "function", "function": {"name": "look", "arguments": arguments}}

    opening = {"role": "assistant", "content": None, "tool_calls": [part("{}", id="c1"), part('{"q":', id="c2")]}
    accumulator = _accumulate(opening, {"tool_calls": [part("1}")]}, {"tool_calls": [part("[]", id="c3")]})
    assert accumulator.messages() == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [call("c1", "{}"), call("c2", '{"q":1}'), call("c3", "[]")],
        }
    ]


def test_logprobs_are_kept_for_a_whole_completion_alone() -> None:
    class Held:
        """A weak reference can be taken to it."""

    def accumulate(accumulator: CompletionAccumulator) -> list[weakref.ref[Held]]:
        held = [Held() for _ in range(9)]
        for logprob in held:
            choice = {"index": 0, "delta": {"content": "a"}, "logprobs": {"content": [logprob]}}
            accumulator.add({"id": "x", "choices": [choice]})
        return [weakref.ref(logprob) for logprob in held]

    streamed, whole = CompletionAccumulator(), CompletionAccumulator(keep_logprobs=True)
    assert sum(ref() is not None for ref in accumulate(streamed)) <= 2  # the first chunk, whose fields are kept
    kept = accumulate(whole)
    assert [ref() for ref in kept] == whole.completion()["choices"][0]["logprobs"]["content"]


def test_chunks_make_a_whole_completion() -> None:
    accumulator = CompletionAccumulator(keep_logprobs=True)
    for delta in ({"role": "assistant", "content": ""}, {"content": "Hel"}, {"content": "lo"}):
        choice = {"index": 0, "delta": delta, "finish_reason": None, "logprobs": {"content": [1]}}
        accumulator.add({"id": "x", "choices": [choice]})
    accumulator.add({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    accumulator.add({"id": "x", "choices": [], "usage": {"completion_tokens": 2}})
    message = {"role": "assistant", "content": "Hello"}
    choice = {"finish_reason": "stop", "index": 0, "message": message, "logprobs": {"content": [1, 1, 1]}}
    assert accumulator.completion() == {
        "id": "x",
        "object": "chat.completion",
        "choices": [choice],
        "usage": {"completion_tokens": 2},
    }
    assert (accumulator.finish_reason, accumulator.usage) == ("stop", Usage(completion_tokens=2))


def test_a_completion_in_one_piece_is_taken_as_it_is() -> None:
    message = {"role": "assistant", "content": "Hi"}
    details = {"cached_tokens": 2}
    completion = {
        "choices": [{"index": 0, "message": message, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "prompt_tokens_details": details},
    }
    accumulator = CompletionAccumulator()
    accumulator.set_completion(completion)
    assert accumulator.completion() is completion
    assert accumulator.messages() == [message]
    assert accumulator.finish_reason == "length"
    assert accumulator.usage == Usage(prompt_tokens=3, completion_tokens=1, cached_tokens=2)


def test_only_a_second_choice_makes_no_empty_first_one() -> None:
    accumulator = _accumulate({"content": "Hi"}, index=1)
    assert accumulator.messages() == [{"role": "assistant", "content": "Hi"}]
    assert [choice["index"] for choice in accumulator.completion()["choices"]] == [1]
    silent = CompletionAccumulator()
    silent.add({"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": "stop"}]})
    assert [choice["index"] for choice in silent.completion()["choices"]] == [0]


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": None},
        {"choices": [None]},
        {"choices": "x"},
        {"choices": [{"index": 0, "delta": None}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [None]}}]},
        {"choices": [{"index": "1", "delta": {"content": None}}]},
        {"usage": None},
        {"usage": []},
        {"usage": {"prompt_tokens": None, "completion_tokens": None, "prompt_tokens_details": None}},
        {"usage": {"prompt_tokens": "3", "completion_tokens": -1, "prompt_tokens_details": {"cached_tokens": None}}},
    ],
)
def test_nulls_and_odd_values_of_an_upstream_are_no_error(chunk: dict[str, Any]) -> None:
    streamed = CompletionAccumulator()
    streamed.add(chunk)
    streamed.add({"choices": [{"index": 0, "delta": {"content": "Hi"}}]})
    assert streamed.text() == "Hi"
    assert streamed.usage == Usage()
    whole = CompletionAccumulator()
    whole.set_completion(chunk)
    assert (whole.text(), whole.usage) == ("", Usage())
