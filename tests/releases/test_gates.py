"""Gates are declared first and judge only what came after, on SQLite and on PostgreSQL."""

from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from pydantic import ValidationError

from tests.releases.makers import declare, make_release, make_run, make_set
from tests.watching import watch_blobs
from tidemill.core import events
from tidemill.core.actors import OWNER
from tidemill.core.http import InProcessTransport
from tidemill.core.kernel import Context
from tidemill.core.settings import Settings
from tidemill.evals import service as evals
from tidemill.evals.types import ComparisonSpec, EvalSetNotFound
from tidemill.releases import service, store
from tidemill.releases.types import (
    GateChangedAfterEvaluation,
    GateCreate,
    GateEvaluate,
    GateNotFound,
    RunBeforeGate,
    UnfitEvidence,
)
from tidemill.server.app import build


def evaluate(ctx: Context, baseline: str, candidate: str, gate: str = "quality", release: str = "hello"):
    body = GateEvaluate(release=release, gate=gate, baseline_run=baseline, candidate_run=candidate)
    return service.evaluate_gate(ctx, body)


@pytest.mark.parametrize(("right", "verdict"), [(100, "pass"), (64, "inconclusive"), (30, "fail")])
def test_a_gate_gives_three_verdicts_with_evidence(ctx: Context, tmp_path: Path, right: int, verdict: str) -> None:
    make_release(ctx, tmp_path)
    eval_set = make_set(ctx)
    gate = declare(ctx, eval_set)
    baseline, candidate = make_run(ctx, eval_set, 56), make_run(ctx, eval_set, right, release="hello@1")
    result = evaluate(ctx, baseline.id, candidate.id)
    assert (result.verdict, result.gate_hash, result.release_id[:4]) == (verdict, gate.hash, "rel_")
    assert result.evidence.primary.difference.n_pairs == 120
    assert result.evidence.guardrails[0].outcome == "pass"
    assert result.evidence.minimum_detectable_effect > 0
    assert service.list_results(ctx, "hello").items == [result]
    assert service.get_verdict(ctx, service.get_release(ctx, "hello"))[0] == verdict
    assert service.get_gate(ctx, "quality").used
    assert evaluate(ctx, baseline.id, candidate.id) == result


def test_the_same_terms_are_the_same_gate(ctx: Context) -> None:
    eval_set = make_set(ctx)
    gate = declare(ctx, eval_set)
    assert gate.eval_set == eval_set.id
    assert declare(ctx, eval_set, new_version=True) == gate
    assert service.get_gate(ctx, "quality@1") == gate == service.get_gate(ctx, gate.id)
    assert service.list_gates(ctx, cursor=None, limit=5).items == [gate]


def test_an_unused_gate_may_be_amended_with_a_new_time(ctx: Context) -> None:
    eval_set = make_set(ctx)
    gate = declare(ctx, eval_set)
    later = Context(conn=ctx.conn, actor=ctx.actor, kernel=ctx.kernel, now=ctx.now + timedelta(hours=1))
    amended = declare(later, eval_set, minimum_effect=0.2)
    assert (amended.id, amended.number) == (gate.id, 1)
    assert amended.hash != gate.hash
    assert amended.declared_at > gate.declared_at
    assert service.get_gate(ctx, "quality") == amended
    assert {e.kind for e in events.list_events(ctx.conn, subject=gate.id)} == {"gate.declared", "gate.amended"}


def test_a_used_gate_never_changes(ctx: Context, tmp_path: Path) -> None:
    make_release(ctx, tmp_path)
    eval_set = make_set(ctx)
    gate = declare(ctx, eval_set)
    runs = make_run(ctx, eval_set, 50).id, make_run(ctx, eval_set, 60, release="hello@1").id
    evaluate(ctx, *runs)
    with pytest.raises(GateChangedAfterEvaluation) as caught:
        declare(ctx, eval_set, minimum_effect=0.01)
    assert caught.value.code == "gate_changed_after_evaluation"
    later = Context(conn=ctx.conn, actor=ctx.actor, kernel=ctx.kernel, now=ctx.now + timedelta(hours=1))
    second = declare(later, eval_set, minimum_effect=0.01, new_version=True)
    assert (second.number, second.used) == (2, False)
    assert service.get_gate(ctx, "quality@1").hash == gate.hash
    with pytest.raises(RunBeforeGate):  # the old runs are no evidence for the new terms
        evaluate(ctx, *runs)


def test_terms_changed_in_the_database_are_found(ctx: Context, tmp_path: Path) -> None:
    release = make_release(ctx, tmp_path)
    eval_set = make_set(ctx)
    gate = declare(ctx, eval_set)
    runs = make_run(ctx, eval_set, 50).id, make_run(ctx, eval_set, 90, release="hello@1").id
    evaluate(ctx, *runs)
    terms = ctx.conn.execute(sa.select(store.gates.c.terms)).scalar_one()
    ctx.conn.execute(store.gates.update().values(terms=terms | {"minimum_effect": 0.001}))
    with pytest.raises(GateChangedAfterEvaluation, match=gate.hash):
        evaluate(ctx, *runs)
    with pytest.raises(GateChangedAfterEvaluation):
        service.check_clearance(ctx, release.id, "prod")


def test_a_run_from_before_the_gate_is_no_evidence(ctx: Context, tmp_path: Path) -> None:
    make_release(ctx, tmp_path)
    eval_set = make_set(ctx)
    early = make_run(ctx, eval_set, 50, at=ctx.now - timedelta(seconds=1))
    gate = declare(ctx, eval_set)
    candidate = make_run(ctx, eval_set, 90, release="hello@1")
    with pytest.raises(RunBeforeGate, match=early.id):
        evaluate(ctx, early.id, candidate.id)
    assert not service.get_gate(ctx, gate.id).used
    assert service.list_results(ctx, "hello").items == []


def test_answers_from_before_the_gate_are_no_evidence(ctx: Context, tmp_path: Path) -> None:
    make_release(ctx, tmp_path)
    eval_set = make_set(ctx)
    declare(ctx, eval_set)
    baseline = make_run(ctx, eval_set, 50)
    early, late = ctx.now - timedelta(seconds=1), ctx.now + timedelta(seconds=1)
    old = make_run(ctx, eval_set, 90, release="hello@1", cached=3, oldest=early)
    undated = make_run(ctx, eval_set, 90, release="hello@1", cached=3)
    for run in (old, undated):
        with pytest.raises(RunBeforeGate, match="3 of 120 answers") as refusal:
            evaluate(ctx, baseline.id, run.id)
        assert "--release hello@1 --no-cache" in str(refusal.value.hint)
    with pytest.raises(RunBeforeGate, match="3 of 120 answers"):
        evaluate(ctx, make_run(ctx, eval_set, 50, cached=3, oldest=early).id, make_run(ctx, eval_set, 90).id)
    fresh = make_run(ctx, eval_set, 90, release="hello@1", cached=3, oldest=late)
    assert evaluate(ctx, baseline.id, fresh.id).verdict == "pass"


@pytest.mark.parametrize(
    ("sampling", "repeats", "match"),
    [
        ({"temperature": 1}, 1, "temperature 1.0 in place of 0.0"),
        ({"max_tokens": 5}, 1, "max_tokens 5 in place of the engine's own"),
        ({"seed": 4}, 1, "seed 4 in place of 3"),
        ({"seed": 3}, 2, "another seed with each of 2 repeats"),
        ({"response_format": {"type": "json_object"}}, 1, "response_format"),
        ({"temperature": 0, "seed": 3}, 1, None),
        ({}, 2, None),
    ],
)
def test_evidence_is_of_the_frozen_sampling(
    ctx: Context, tmp_path: Path, sampling: dict[str, object], repeats: int, match: str | None
) -> None:
    make_release(ctx, tmp_path, sampling={"temperature": 0, "seed": 3})
    eval_set = make_set(ctx)
    declare(ctx, eval_set)
    plain, own = make_run(ctx, eval_set, 50), make_run(ctx, eval_set, 90, release="hello@1")
    asked = make_run(ctx, eval_set, 90, release="hello@1", sampling=sampling, repeats=repeats)
    if match is None:
        assert evaluate(ctx, plain.id, asked.id).verdict == "pass"
        return
    for pair in ((plain, asked), (asked, own)):  # a baseline that is a release is held to what it froze as well
        with pytest.raises(UnfitEvidence, match=match) as refusal:
            evaluate(ctx, pair[0].id, pair[1].id)
        assert "without sampling parameters" in str(refusal.value.hint)


def test_evidence_must_fit_the_gate_and_the_release(ctx: Context, tmp_path: Path) -> None:
    make_release(ctx, tmp_path)
    make_release(ctx, tmp_path, name="other", sampling={"seed": 3})
    eval_set, strange = make_set(ctx), make_set(ctx, "strange")
    declare(ctx, eval_set)
    baseline = make_run(ctx, eval_set, 50)
    mine, others = make_run(ctx, eval_set, 90, release="hello@1"), make_run(ctx, eval_set, 90, release="other@1")
    with pytest.raises(UnfitEvidence, match="answered strange@1"):
        evaluate(ctx, make_run(ctx, strange, 50).id, mine.id)
    with pytest.raises(UnfitEvidence, match="asked other@1"):
        evaluate(ctx, baseline.id, others.id)
    with pytest.raises(UnfitEvidence, match="base"):
        evaluate(ctx, mine.id, baseline.id)
    with pytest.raises(UnfitEvidence, match="same run"):
        evaluate(ctx, mine.id, mine.id)
    with pytest.raises(GateNotFound):
        evaluate(ctx, baseline.id, mine.id, gate="nobody")


def test_a_second_look_is_told_and_the_newest_counts(ctx: Context, tmp_path: Path) -> None:
    release = make_release(ctx, tmp_path)
    eval_set = make_set(ctx)
    declare(ctx, eval_set)
    baseline = make_run(ctx, eval_set, 56)
    evaluate(ctx, baseline.id, make_run(ctx, eval_set, 100, release="hello@1").id)
    second = evaluate(ctx, baseline.id, make_run(ctx, eval_set, 30, release="hello@1").id)
    assert any("has judged hello@1 before (pass)" in w for w in second.warnings)
    assert service.get_verdict(ctx, release)[0] == "fail"
    declare(ctx, eval_set, name="second", minimum_effect=0.2)
    evaluate(ctx, baseline.id, make_run(ctx, eval_set, 110, release="hello@1").id, gate="second")
    assert service.get_verdict(ctx, release)[0] == "fail"  # another gate's pass does not outweigh it


@pytest.mark.parametrize(
    "terms",
    [
        {"kind": "improvement"},
        {"kind": "non_inferiority", "minimum_effect": 0.1},
        {"kind": "improvement", "minimum_effect": 0.1, "margin": 0.1},
        {"minimum_effect": 0.1, "alpha": 0.7},
        {"minimum_effect": -0.1},
        {"minimum_effect": 0.1, "guardrails": [{"metric": "m", "margin": 0.1}]},
    ],
)
def test_incomplete_terms_are_refused(terms: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        GateCreate.model_validate({"name": "g", "eval_set": "e", "metric": "m", **terms})


def test_nobody_waits_to_write_while_two_runs_are_compared(home: Path, tmp_path: Path) -> None:
    application = build(Settings(home=home))
    with application.kernel.write(OWNER) as ctx:
        make_release(ctx, tmp_path)
        eval_set = make_set(ctx)
        declare(ctx, eval_set)
        runs = make_run(ctx, eval_set, 56), make_run(ctx, eval_set, 100, release="hello@1")
    watched = watch_blobs(application.kernel)
    with httpx.Client(base_url="http://x", transport=InProcessTransport(application.asgi)) as client:
        asked = {"release": "hello", "gate": "quality", "baseline_run": runs[0].id, "candidate_run": runs[1].id}
        reply = client.post("/api/gate-results", json=asked)
        terms = {"metric": "accuracy", "minimum_effect": 0.05}
        asked = {"baseline_run": runs[0].id, "candidate_run": runs[1].id, "primary": terms}
        other = client.post("/api/evals/comparisons", json=asked)
    assert (reply.status_code, reply.json()["verdict"]) == (201, "pass")
    assert (other.status_code, other.json()["created_by"]) == (201, "owner")
    assert watched.uses.count("open") == 2  # the items of the eval set, once for each
    assert watched.held == []
    application.kernel.close()


def test_a_draft_that_answers_another_question_does_not_count(ctx: Context, tmp_path: Path) -> None:
    """The gate was amended between the draft and the transaction that keeps the verdict."""
    make_release(ctx, tmp_path)
    eval_set = make_set(ctx)
    declare(ctx, eval_set, minimum_effect=0.9)
    baseline, candidate = make_run(ctx, eval_set, 56), make_run(ctx, eval_set, 100, release="hello@1")
    runs = {"baseline_run": baseline.id, "candidate_run": candidate.id}
    strict = GateEvaluate(release="hello", gate="quality", **runs)
    spec = ComparisonSpec(primary=service.get_gate(ctx, "quality").primary, **runs)
    drafted = evals.compare(ctx, spec)
    declare(ctx, eval_set)
    result = service.evaluate_gate(ctx, strict, drafted)
    assert result.evidence.spec.primary.minimum_effect == 0.1
    assert result.comparison_id != drafted.id
    assert result.verdict == "pass"


def test_a_gate_needs_its_eval_set(ctx: Context) -> None:
    with pytest.raises(EvalSetNotFound):
        service.declare_gate(ctx, GateCreate(name="g", eval_set="nowhere", metric="m", minimum_effect=0.1))
