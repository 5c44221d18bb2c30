"""The verdicts of the parity proof."""

import pytest

from tidemill.tuning import parity
from tidemill.tuning.parity import ProofAnswer, ProofPrompt
from tidemill.tuning.types import Hop, Proof

QUESTIONS = [ProofPrompt(str(n), '{"type": "A"}' if n % 2 else '{"type": "B"}', f"c{n // 2}") for n in range(96)]
RECORD = [ProofAnswer([1, n], question.expected) for n, question in enumerate(QUESTIONS)]


def judged(replies: list[ProofAnswer], proof: Proof | None = None) -> Hop:
    return parity.judge("hop", QUESTIONS, RECORD, replies, proof or Proof(), exact=True)


def test_equal_answers_pass() -> None:
    hop = judged([ProofAnswer(None, r.answer) for r in RECORD])
    assert (hop.verdict, hop.same, hop.prompts_equal, hop.delta) == ("pass", 96, None, 0.0)
    assert hop.same_low > 0.95


def test_one_token_that_differs_in_a_prompt_fails() -> None:
    replies = [*RECORD[:-1], ProofAnswer([1, 2, 3], RECORD[-1].answer)]
    hop = judged(replies)
    assert (hop.verdict, hop.prompts_equal) == ("fail", 95)
    assert "other tokens" in hop.reason


def test_answers_that_are_all_others_fail_even_when_nobody_knows_their_quality() -> None:
    """What a requantised base does: none of the trainer's answers is left."""
    hop = judged([ProofAnswer(None, "I am a helpful assistant.") for _ in RECORD])
    assert (hop.verdict, hop.same) == ("fail", 0)
    assert "trainer's" in hop.reason
    assert len(hop.examples) == 5


def test_a_loss_of_quality_fails_and_a_doubt_is_inconclusive() -> None:
    wrong = [
        ProofAnswer(None, '{"type": "Z"}') if n < 32 else ProofAnswer(None, r.answer) for n, r in enumerate(RECORD)
    ]
    assert judged(wrong).verdict == "fail"
    doubtful = [
        ProofAnswer(None, '{"type": "Z"}') if n < 6 else ProofAnswer(None, r.answer) for n, r in enumerate(RECORD)
    ]
    hop = judged(doubtful)
    assert hop.verdict == "inconclusive"
    assert "margin 0.08" in hop.reason
    assert judged(doubtful, Proof(margin=0.3)).verdict == "pass"


def test_spaces_in_json_do_not_count_and_words_count_in_prose() -> None:
    assert parity.quality('{"type":"A"}', '{"type": "A"}', exact=True) == 1.0
    assert parity.quality("the cat", "the dog", exact=False) == pytest.approx(0.5)
    assert parity.quality("", "", exact=False) == 1.0


def test_the_first_broken_hop_is_named() -> None:
    fine = judged(RECORD)
    broken = [fine.model_copy(update={"name": name, "verdict": "fail"}) for name in ("gguf:f16", "gguf:q8_0")]
    report = parity.report([fine, *broken], Proof())
    assert (report.passed, report.broken) == (False, "gguf:f16")
    assert parity.report([fine], Proof()).passed


def few(
    count: int, equal: int, right: int = 0, before: int | None = None, clusters: int | None = None, **proof: object
) -> Hop:
    """A hop on `count` rows of which `equal` answers are the trainer's; the trainer has `before` rows right."""
    right_before = count if before is None else before
    questions = [ProofPrompt(str(n), "A", f"c{n % (clusters or count)}") for n in range(count)]
    record = [ProofAnswer(None, "A" if n < right_before else f"other {n}") for n in range(count)]
    replies = [
        record[n] if n < equal else ProofAnswer(None, "A" if n < equal + right else f"else {n}") for n in range(count)
    ]
    return parity.judge("hop", questions, record, replies, Proof.model_validate(proof), exact=True)


def test_a_few_equal_answers_pass_with_what_they_could_have_missed() -> None:
    hop = few(14, 14)
    assert hop.verdict == "pass"
    assert hop.differ_high == pytest.approx(1 - 0.05 ** (1 / 14))
    assert "at most 19.3% of all answers differ" in hop.reason
    assert hop.delta_low < 0 < hop.delta_high
    assert few(14, 14, few_rows="refuse").verdict == "inconclusive"
    assert few(14, 14, clusters=7).differ_high == pytest.approx(1 - 0.05 ** (1 / 7))
    assert few(14, 13).verdict == "inconclusive"


def test_half_of_the_answers_on_sixteen_rows_tell_nothing() -> None:
    hop = few(16, 8, before=0)  # the quality of both is 0, so that it says nothing against the hop
    assert (hop.verdict, hop.same_share) == ("inconclusive", 0.5)
    assert "with so few rows" in hop.reason


def test_quality_far_above_the_trainers_is_a_difference_too() -> None:
    hop = few(96, 60, right=36, before=60)
    assert hop.delta == pytest.approx(0.375)
    assert hop.verdict == "fail"
    assert "better by 0.375" in hop.reason
    assert few(30, 28, right=2, before=28).verdict == "inconclusive"


def test_an_inconclusive_proof_passes_only_where_it_is_accepted() -> None:
    doubtful = few(14, 13)
    fine = few(14, 14).model_copy(update={"name": "fine"})
    assert parity.report([fine, doubtful], Proof()).broken == "hop"
    accepted = parity.report([fine, doubtful], Proof(few_rows="accept"))
    assert (accepted.passed, accepted.broken, accepted.accepted) == (True, None, ["hop"])
    assert parity.report([fine, doubtful], Proof(), accepted=["hop"]).passed
    worse = doubtful.model_copy(update={"verdict": "fail"})
    assert not parity.report([fine, worse], Proof(few_rows="accept")).passed


def test_true_is_not_one_and_text_is_not_json() -> None:
    assert parity.quality('{"a": true}', '{"a": 1}', exact=True) == 0.0
    assert parity.quality('{"a": [1, false]}', '{"a": [1, 0]}', exact=True) == 0.0
    assert parity.quality('{"a": 1.0}', '{"a": 1}', exact=True) == 1.0
    assert parity.quality('"A"', "A", exact=True) == 0.0


def test_one_answer_to_everything_is_said_beside_the_proof() -> None:
    questions = [ProofPrompt(str(n), "common" if n % 20 else "rare", f"c{n}") for n in range(100)]
    record = [ProofAnswer(None, "common") for _ in questions]
    hop = parity.trainer_hop(questions, record, exact=True)
    assert hop.quality == pytest.approx(0.95)
    assert [w.code for w in hop.warnings] == ["constant_answer", "class_never_predicted", "not_above_majority"]
    assert hop.warnings[1].details == {"classes": {"rare": 5}}
    served = parity.judge("served", questions, record, record, Proof(), exact=True)
    assert served.warnings == hop.warnings
    good = [ProofAnswer(None, question.expected) for question in questions]
    assert parity.trainer_hop(questions, good, exact=True).warnings == []
