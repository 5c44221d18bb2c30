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
