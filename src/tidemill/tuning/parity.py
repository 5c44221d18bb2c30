"""The parity proof: does every form of a tuned model still answer as the trainer did?

Each hop (adapter, merged, gguf:f16, gguf:q8_0, served, ...) replays the same held-out prompts. Three things are
compared with the trainer's own record: the token ids of the rendered prompt (exactly), the share of equal greedy
answers (Wilson interval), and the quality of the answers (equivalence test, clustered: better than the trainer is a
difference too). The first hop that does not pass is named. Too few rows to tell make a hop inconclusive, unless all
answers are equal: then it is said what these rows could have missed.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tidemill.core.parsing import parse_json
from tidemill.core.tokens import tokens
from tidemill.evals import service as evals
from tidemill.evals.types import AnswerWarning, NonInferiority
from tidemill.stats.rates import exact_upper, wilson
from tidemill.stats.results import Rate
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
        return float(_value(answer) == _value(expected))
    answer_words, expected_words = Counter(tokens(answer)), Counter(tokens(expected))
    common = sum((answer_words & expected_words).values())
    return (
        2 * common / (sum(answer_words.values()) + sum(expected_words.values()))
        if answer_words or expected_words
        else 1.0
    )


def _value(text: str) -> tuple[str, Any]:
    """Return JSON as its value, so that spaces do not count; other text without blanks around it."""
    try:
        return "json", _typed(parse_json(text))
    except ValueError:
        return "text", text.strip()


def _typed(value: Any) -> Any:
    """Return a JSON value in which `true` is not equal to 1."""
    if isinstance(value, bool):
        return "true or false", value
    if isinstance(value, dict):
        return {key: _typed(entry) for key, entry in value.items()}
    return [_typed(entry) for entry in value] if isinstance(value, list) else value


def _doubts(
    questions: Sequence[ProofPrompt], replies: Sequence[ProofAnswer], mean: float, *, exact: bool
) -> list[AnswerWarning]:
    answers = [" ".join(reply.answer.split()) for reply in replies]
    expected = [" ".join(question.expected.split()) for question in questions]
    if exact:
        return evals.check_answers(answers, expected, metric="quality", mean=mean, classes=True)
    return evals.check_answers(answers, expected)


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
        warnings=_doubts(questions, record, sum(scores) / len(scores), exact=exact),
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
    swapped = evals.noninferiority(after, before, clusters, margin=proof.margin, alpha=proof.alpha)
    units = set(clusters)
    differing = {q.cluster for q, a, b in zip(questions, record, replies, strict=True) if a.answer != b.answer}
    comparison = _HopComparison(
        prompts=len(read),
        prompts_equal=equal,
        share=share,
        same=same,
        differ_high=exact_upper(len(differing), len(units), 1 - proof.alpha),
        test=test,
        better=swapped.outcome == "fail",
    )
    verdict, reason = _verdict(comparison, proof)
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
        delta_high=test.upper,
        differ_high=comparison.differ_high,
        warnings=_doubts(questions, replies, sum(after) / len(after), exact=exact),
        examples=_differing(questions, record, replies),
        version_id=version_id,
        seconds=seconds,
    )


@dataclass(frozen=True)
class _HopComparison:
    """A hop beside the trainer: prompts whose tokens were compared, equal answers, and the tests of quality.

    `better`: the trainer is surely worse than the hop, and by no less than the margin as far as the rows can tell.
    """

    prompts: int
    prompts_equal: int | None
    share: Rate
    same: int
    differ_high: float
    test: NonInferiority
    better: bool


def _verdict(hop: _HopComparison, proof: Proof) -> tuple[Verdict, str]:
    test, margin, count = hop.test, proof.margin, hop.share.count
    if hop.prompts_equal is not None and hop.prompts_equal < hop.prompts:
        differing = hop.prompts - hop.prompts_equal
        return "fail", f"{differing} of {hop.prompts} prompts are cut into other tokens than in training."
    if hop.share.high < proof.min_same:
        most = f"At most {hop.share.high:.1%} of the answers are the trainer's"
        return "fail", f"{most}; {proof.min_same:.0%} is the least."
    if test.outcome == "fail":
        loss, most_lost = -test.difference.delta, -test.lower
        return "fail", f"Quality is worse by {loss:.3f}; it may be {most_lost:.3f}, and {margin:g} is allowed."
    if hop.better:
        gain = test.difference.delta
        return "fail", (
            f"Quality is better by {gain:.3f} and may be by {test.upper:.3f}, where {margin:g} is allowed: this does "
            "not answer as the trainer did."
        )
    if hop.same == count and not test.equivalent:
        return _few_but_equal(hop, proof)
    if hop.same < count and hop.share.low < proof.min_same:
        return "inconclusive", (
            f"{hop.same} of {count} answers are the trainer's; with so few rows the share may be {hop.share.low:.0%}, "
            f"and {proof.min_same:.0%} is the least."
        )
    if test.equivalent:
        return "pass", f"Quality differs by less than {margin:g} ({test.lower:+.3f} to {test.upper:+.3f})."
    more = f"; {test.more_items} more prompts would settle it" if test.more_items else ""
    return "inconclusive", f"Quality may differ by {test.lower:+.3f} to {test.upper:+.3f}, margin {margin:g}{more}."


def _few_but_equal(hop: _HopComparison, proof: Proof) -> tuple[Verdict, str]:
    """Return the verdict where all answers are equal and the rows are too few for the margin."""
    limits = (
        f"All {hop.share.count} answers are the trainer's, but {hop.share.count} rows see little: with confidence "
        f"{1 - proof.alpha:.0%} at most {hop.differ_high:.1%} of all answers differ, and quality by "
        f"{hop.test.lower:+.3f} to {hop.test.upper:+.3f}, margin {proof.margin:g}."
    )
    return ("inconclusive" if proof.few_rows == "refuse" else "pass"), limits


def _differing(
    questions: Sequence[ProofPrompt], record: Sequence[ProofAnswer], replies: Sequence[ProofAnswer]
) -> list[dict[str, str]]:
    differing = [
        {"id": q.id, "expected": q.expected, "trainer": a.answer, "here": b.answer}
        for q, a, b in zip(questions, record, replies, strict=True)
        if a.answer != b.answer
    ]
    return differing[:5]


def report(hops: Sequence[Hop], proof: Proof, *, accepted: Sequence[str] = ()) -> ParityReport:
    """Return the report of all hops, with the first one that did not pass. `accepted`: hops accepted before."""
    accepting = proof.few_rows == "accept"
    accepted = [h.name for h in hops if h.verdict == "inconclusive" and (accepting or h.name in accepted)]
    broken = next((h.name for h in hops if h.verdict != "pass" and h.name not in accepted), None)
    return ParityReport(
        passed=broken is None,
        broken=broken,
        accepted=accepted,
        rows=hops[0].n if hops else 0,
        margin=proof.margin,
        alpha=proof.alpha,
        hops=list(hops),
    )
