"""The parity proof: does every form of a tuned model still answer as the trainer did?

Each hop (adapter, merged, gguf:f16, gguf:q8_0, served, ...) replays the same held-out prompts. Three things are
compared with the trainer's own record: the token ids of the rendered prompt (exactly), the share of equal greedy
answers (Wilson interval), and the quality of the answers (non-inferiority test, clustered). The first hop that does
not pass is named.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from tidemill.core.parsing import parse_json
from tidemill.core.tokens import tokens
from tidemill.evals import service as evals
from tidemill.stats.rates import wilson
from tidemill.tuning.types import Hop, ParityReport, Proof, Verdict


class ProofPrompt(NamedTuple):
    """A held-out prompt with the answer that the data set gives."""

    id: str
    expected: str
    cluster: str


class ProofAnswer(NamedTuple):
    """What a hop made of a prompt. `prompt_ids`: None where the hop was not asked how it reads the prompt."""

    prompt_ids: list[int] | None
    answer: str


def quality(answer: str, expected: str, *, exact: bool) -> float:
    """Return how good an answer is, from 0 to 1. `exact`: right or wrong; else the F1 of its words."""
    if exact:
        return float(_plain(answer) == _plain(expected))
    answer_words, expected_words = Counter(tokens(answer)), Counter(tokens(expected))
    common = sum((answer_words & expected_words).values())
    return (
        2 * common / (sum(answer_words.values()) + sum(expected_words.values()))
        if answer_words or expected_words
        else 1.0
    )


def _plain(text: str) -> Any:
    """JSON as its value, so that spaces do not count; other text without blanks around it."""
    try:
        return parse_json(text)
    except ValueError:
        return text.strip()


def trainer_hop(questions: Sequence[ProofPrompt], record: Sequence[ProofAnswer], *, exact: bool) -> Hop:
    """Return the trainer's own answers: the reference, which passes by definition."""
    scores = [quality(r.answer, q.expected, exact=exact) for q, r in zip(questions, record, strict=True)]
    share = wilson(len(record), len(record))
    return Hop(
        name="trainer",
        verdict="pass",
        reason="The reference.",
        n=len(record),
        same=len(record),
        same_share=1.0,
        same_low=share.low,
        same_high=share.high,
        prompts_equal=len(record),
        quality=sum(scores) / len(scores),
        quality_before=sum(scores) / len(scores),
        delta=0.0,
        delta_low=None,
    )


def judge(
    name: str,
    questions: Sequence[ProofPrompt],
    record: Sequence[ProofAnswer],
    replies: Sequence[ProofAnswer],
    proof: Proof,
    *,
    exact: bool,
    version_id: str | None = None,
    seconds: float | None = None,
) -> Hop:
    """Compare a hop's `replies` with the trainer's `record`, prompt by prompt."""
    before = [quality(r.answer, q.expected, exact=exact) for q, r in zip(questions, record, strict=True)]
    after = [quality(r.answer, q.expected, exact=exact) for q, r in zip(questions, replies, strict=True)]
    same = sum(a.answer == b.answer for a, b in zip(record, replies, strict=True))
    read = [(a.prompt_ids, b.prompt_ids) for a, b in zip(record, replies, strict=True) if b.prompt_ids is not None]
    equal = sum(a == b for a, b in read) if read else None
    share = wilson(same, len(record))
    clusters = [q.cluster for q in questions]
    test = evals.noninferiority(before, after, clusters, margin=proof.margin, alpha=proof.alpha)
    verdict, reason = _verdict(equal, len(read), share.high, test, proof)
    return Hop(
        name=name,
        verdict=verdict,
        reason=reason,
        n=len(record),
        same=same,
        same_share=share.value,
        same_low=share.low,
        same_high=share.high,
        prompts_equal=equal,
        quality=sum(after) / len(after),
        quality_before=sum(before) / len(before),
        delta=test.difference.delta,
        delta_low=test.lower,
        examples=_differing(questions, record, replies),
        version_id=version_id,
        seconds=seconds,
    )


def _verdict(equal: int | None, read: int, same_high: float, test: Any, proof: Proof) -> tuple[Verdict, str]:
    if equal is not None and equal < read:
        return "fail", f"{read - equal} of {read} prompts are cut into other tokens than in training."
    if same_high < proof.min_same:
        return "fail", f"At most {same_high:.1%} of the answers are the trainer's; {proof.min_same:.0%} is the least."
    if test.outcome == "pass":
        return "pass", f"Quality is not worse by {proof.margin:g} (lower bound {test.lower:+.3f})."
    if test.outcome == "fail":
        loss, most = -test.difference.delta, -test.lower
        return "fail", f"Quality is worse by {loss:.3f}; it may be {most:.3f}, and {proof.margin:g} is allowed."
    more = f"; {test.more_items} more prompts would settle it" if test.more_items else ""
    return "inconclusive", f"Quality may be worse by {-test.lower:.3f}, margin {proof.margin:g}{more}."


def _differing(
    questions: Sequence[ProofPrompt], record: Sequence[ProofAnswer], replies: Sequence[ProofAnswer]
) -> list[dict[str, str]]:
    differing = [
        {"id": q.id, "expected": q.expected, "trainer": a.answer, "here": b.answer}
        for q, a, b in zip(questions, record, replies, strict=True)
        if a.answer != b.answer
    ]
    return differing[:5]


def report(hops: Sequence[Hop], proof: Proof) -> ParityReport:
    """Return the report of all hops, with the first one that did not pass."""
    broken = next((h.name for h in hops if h.verdict != "pass"), None)
    return ParityReport(
        passed=broken is None,
        broken=broken,
        rows=hops[0].n if hops else 0,
        margin=proof.margin,
        alpha=proof.alpha,
        hops=list(hops),
    )
