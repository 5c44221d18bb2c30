"""From rows to tokens to batches: what is learnt, in which order, and what all rows share."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tidemill.tuning import examples
from tidemill.tuning.batches import BatchSchedule, TrainingExample, epoch_batches, learning_rate, shared_prefix
from tidemill.tuning.chat_template import ChatEncoder, Message
from tidemill.tuning.types import ChatTemplateUnfit, DatasetSchemaUnfit

CHAT: list[Message] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "How many miles are 12.5 km?"},
    {"role": "assistant", "content": "7.8"},
    {"role": "user", "content": "In feet?\n\nThanks, it’s  for a 日本 trip."},
    {"role": "assistant", "content": "41,010"},
]


@pytest.fixture(scope="module")
def encoder(tiny: Path) -> ChatEncoder:
    return ChatEncoder(tiny)


@pytest.mark.tune
def test_chats_are_rendered_and_cut_as_transformers_does(encoder: ChatEncoder, tiny: Path) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(tiny)
    for end in (2, 4):
        messages = CHAT[:end]
        expected = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert encoder.prompt_ids(messages) == list(expected)


def test_only_answers_count_and_each_is_learnt_with_its_end(encoder: ChatEncoder) -> None:
    ids, loss_mask = encoder.example(CHAT)
    learnt = [encoder.tokenizer.id_to_token(i) for i, c in zip(ids, loss_mask, strict=True) if c]
    assert "".join(learnt) == "7.8<|im_end|>41,010<|im_end|>"
    prompt_ids = encoder.prompt_ids(CHAT[:2])
    assert ids[: len(prompt_ids)] == prompt_ids, "training meets the very tokens of serving"
    assert loss_mask[: len(prompt_ids)] == [False] * len(prompt_ids)
    _, later = encoder.example(CHAT, start=3)
    assert sum(later) < sum(loss_mask), "turns before `start` belong to the prompt"
    _, everything = encoder.example(CHAT, completion_only=False)
    assert all(everything)


def test_a_template_that_rewrites_earlier_turns_is_refused(encoder: ChatEncoder) -> None:
    changed = ChatEncoder.__new__(ChatEncoder)
    changed.__dict__ |= encoder.__dict__ | {"source": "{{ messages | length }}{{ messages[-1].content }}"}
    with pytest.raises(ChatTemplateUnfit, match="earlier turns"):
        changed.example(CHAT)
    changed.__dict__["source"] = "{{ raise_exception('no system role') }}"
    with pytest.raises(ChatTemplateUnfit, match="no system role"):
        changed.example(CHAT)


def test_a_schema_that_cannot_be_tuned_on_is_named_with_what_is_needed() -> None:
    with pytest.raises(DatasetSchemaUnfit) as failed:
        examples.check_schema("text", ["text"], dataset="notes@1")
    assert "'text'" in failed.value.message
    assert "classification (text, label)" in failed.value.message
    with pytest.raises(DatasetSchemaUnfit, match="lacks the column 'completion'"):
        examples.check_schema("completion", ["id", "prompt"], dataset="notes@1")


@pytest.mark.parametrize(
    ("schema", "row", "answer"),
    [
        ("classification", {"text": "q", "label": "A"}, '{"type": "A"}'),
        ("completion", {"prompt": "q", "completion": "a"}, "a"),
        ("chat", {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}, "a"),
    ],
)
def test_every_schema_becomes_a_chat_with_the_prompt_before_it(schema: str, row: dict[str, Any], answer: str) -> None:
    prefix: list[Message] = [{"role": "system", "content": "s"}]
    chat = examples.chat_of(row, schema, prefix, '{"type": "{{label}}"}')
    assert [m["role"] for m in chat] == ["system", "user", "assistant"]
    assert chat[-1]["content"] == answer


def test_a_chat_without_an_answer_is_refused() -> None:
    with pytest.raises(DatasetSchemaUnfit, match="no assistant message"):
        examples.chat_of({"id": "r7", "messages": [{"role": "user", "content": "q"}]}, "chat", [], None)


def test_an_example_with_a_line_separator_stays_one_line(tmp_path: Path) -> None:
    messages: list[Message] = [
        {"role": "user", "content": "one\u2028two\nthree"},
        {"role": "assistant", "content": "a"},
    ]
    row = examples.ChatExample(id="r1", cluster="c1", messages=messages, start=0, exact=True)
    examples.write(tmp_path / "train.jsonl", [row, row])
    assert examples.read(tmp_path / "train.jsonl") == [row, row]


def test_every_row_comes_once_an_epoch_and_rows_of_like_length_together() -> None:
    lengths = [10 + (n * 7919) % 90 for n in range(1000)]
    batches = epoch_batches(lengths, 16, seed=1, epoch=0)
    assert sorted(i for batch in batches for i in batch) == list(range(1000))
    assert batches == epoch_batches(lengths, 16, seed=1, epoch=0)
    assert batches != epoch_batches(lengths, 16, seed=1, epoch=1)
    padded = sum(max(lengths[i] for i in batch) * len(batch) for batch in batches)
    assert padded < 1.06 * sum(lengths)


def test_a_step_depends_on_its_number_alone() -> None:
    def plan() -> BatchSchedule:
        return BatchSchedule([5] * 50, batch_size=4, accumulation=3, seed=9)

    steps = [plan().step(number) for number in range(1, 13)]
    schedule = plan()
    assert steps == [schedule.step(number) for number in range(1, 13)]
    assert schedule.steps_per_epoch == 5
    first = [i for step in steps[:5] for batch in step for i in batch]
    assert sorted(first) == list(range(50))
    assert (schedule.total_steps(2.0, None), schedule.total_steps(2.0, 7)) == (10, 7)


def test_the_shared_prefix_never_reaches_the_first_counted_token() -> None:
    rows = [TrainingExample([1, 2, 3, 4, n], [False] * 4 + [True]) for n in (7, 8, 9)]
    assert shared_prefix(rows) == 3
    assert shared_prefix([TrainingExample([1, 2, 3], [False, True, True])]) == 0
    assert shared_prefix([]) == 0


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_learning_rate_warms_up_and_falls(schedule: str) -> None:
    rates = [learning_rate(step, 100, 1.0, 0.1, schedule) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert all(a >= b for a, b in pairwise(rates[9:]))
    assert 0 < rates[-1] < 0.02
    assert learning_rate(60, 100, 1.0, 0.1, "constant") == 1.0
