"""Runs against a real endpoint process, and comparisons of them."""

import time

import pytest

from tests.evals.conftest import LABELLED, Desk, labelled
from tidemill.core import lineage
from tidemill.core.actors import OWNER
from tidemill.evals.types import (
    ComparisonNotFound,
    EvalRunNotFound,
    EvalSet,
    MetricUnknown,
    RunHasFailures,
    RunNotFinished,
    RunsDiffer,
    ScorerInvalid,
    TargetInvalid,
)
from tidemill.jobs.types import JobFailed

IMPROVES = {"metric": "accuracy", "minimum_effect": 0.1}
NO_WORSE = {"metric": "accuracy", "kind": "non_inferiority", "margin": 0.1}


def quiz(desk: Desk, count: int = 60) -> EvalSet:
    version = desk.dataset(labelled(count), mapping={"fields": {"text": "text", "label": "label", "cluster": "doc"}})
    return desk.evals.create_set("quiz", version.ref, split="train")


def texts(desk: Desk, *inputs: str, name: str = "odd") -> EvalSet:
    """A set whose inputs tell the endpoint how to behave, with a few plain ones."""
    plain = [f"how many {i}" for i in range(8)]
    version = desk.dataset([{"input": t, "expected": "NUM"} for t in [*inputs, *plain]], name, row_schema="eval")
    return desk.evals.create_set(name, version.ref, split="test")


def test_a_run_and_its_figures(both: Desk) -> None:
    eval_set = quiz(both)
    run = both.finished("quiz", both.endpoint(), name="first")
    assert run.state == "succeeded"
    assert run.figures is not None
    assert (run.figures.answers, run.figures.failures, run.figures.output_tokens) == (60, 0, 180)
    metric = run.metric("accuracy")
    assert metric is not None
    assert metric.mean == 1
    assert metric.labels is not None
    assert {c.label for c in metric.labels.classes} == {"NUM", "LOC", "HUM"}
    assert sorted(both.outside.texts()) == sorted(row["text"] for row in labelled(60))
    page = both.evals.results(run.id, limit=50)
    rest = both.evals.results(run.id, cursor=page.next_cursor, limit=50)
    assert [r.seq for r in [*page.items, *rest.items]] == list(range(60))
    with both.kernel.db.read() as conn:
        graph = lineage.walk(conn, run.id, "up")
    assert graph is not None
    assert eval_set.id in {node.id for node in graph.nodes}
    assert [r.id for r in both.evals.runs(eval_set="quiz").items] == [run.id]


def test_a_better_candidate_passes_and_a_worse_one_fails(both: Desk) -> None:
    quiz(both)
    good, bad = both.finished("quiz", both.endpoint()), both.finished("quiz", both.endpoint("worse"))
    better = both.evals.compare(bad.id, good.id, IMPROVES, guardrails=[_slower(5000)])
    assert better.outcome == "pass"
    assert better.primary.difference.delta == pytest.approx(2 / 3)
    assert better.primary.difference.n_clusters == 30
    assert better.guardrails[0].metric == "latency_ms"
    assert both.evals.compare(good.id, bad.id, NO_WORSE).outcome == "fail"
    assert both.evals.compare(bad.id, good.id, IMPROVES, guardrails=[_slower(5000)]) == better
    assert both.evals.get_comparison(better.id) == better
    assert len(both.evals.comparisons(run_id=good.id).items) == 2
    with pytest.raises(ComparisonNotFound):
        both.evals.get_comparison("cmp_nope")


def _slower(margin: float) -> dict[str, object]:
    return {"metric": "latency_ms", "kind": "non_inferiority", "margin": margin, "direction": "lower"}


def test_the_same_run_twice_is_inconclusive_about_an_improvement(desk: Desk) -> None:
    quiz(desk)
    first, second = desk.finished("quiz", desk.endpoint()), desk.finished("quiz", desk.endpoint())
    comparison = desk.evals.compare(first.id, second.id, {"metric": "accuracy", "minimum_effect": 0.01})
    assert comparison.outcome == "inconclusive"
    assert comparison.more_items is not None
    assert "more items" in comparison.summary
    assert comparison.minimum_detectable_effect is not None


def test_naive_bayes_is_a_run_like_any_other(desk: Desk) -> None:
    quiz(desk)
    baseline = desk.finished("quiz", {"dataset": "questions@1", "split": "train"})
    metric = baseline.metric("accuracy")
    assert metric is not None
    assert metric.mean == 1
    good = desk.finished("quiz", desk.endpoint())
    assert desk.evals.compare(baseline.id, good.id, NO_WORSE).outcome == "pass"
    assert desk.evals.results(baseline.id).items[0].answer in {f'{{"type": "{k}"}}' for k in ("NUM", "LOC", "HUM")}


def test_failures_are_counted_apart_and_a_comparison_says_how_to_count_them(desk: Desk) -> None:
    texts(desk, "refuse this", "garbage")
    options = {"attempts": 2}
    bad = desk.finished("odd", desk.endpoint(), **options)
    assert bad.figures is not None
    assert (bad.figures.failures, bad.figures.errors) == (2, {"http_400": 1, "not_json": 1})
    metric = bad.metric("accuracy")
    assert metric is not None
    assert (metric.mean, metric.items) == (1, 8)
    failed = desk.evals.results(bad.id, failed=True).items
    assert {r.error.code for r in failed if r.error} == {"http_400", "not_json"}
    again = desk.finished("odd", desk.endpoint(), **options)
    with pytest.raises(RunHasFailures, match="2 of 10"):
        desk.evals.compare(bad.id, again.id, NO_WORSE)
    wrong = desk.evals.compare(bad.id, again.id, NO_WORSE, failures="wrong")
    assert wrong.primary.difference.baseline_mean == pytest.approx(0.8)
    dropped = desk.evals.compare(bad.id, again.id, NO_WORSE, failures="drop")
    assert (dropped.dropped, dropped.primary.difference.n_pairs) == (2, 8)
    assert any("2 of 10 pairs" in w for w in dropped.warnings)
    assert any("counted as drop" in w for w in dropped.warnings)


def test_a_target_that_refuses_ends_the_run_at_once(desk: Desk) -> None:
    quiz(desk)
    run = desk.evals.run("quiz", desk.endpoint("missing"), [LABELLED])
    with pytest.raises(JobFailed, match="no such model"):
        desk.evals.wait(run.id, timeout=120)
    ended = desk.evals.get_run(run.id)
    assert ended.state == "failed"
    assert ended.error is not None
    assert ended.error.code == "target_refused"
    assert len(desk.outside.requests()) <= 4
    with pytest.raises(RunNotFinished):
        desk.evals.compare(run.id, run.id, IMPROVES)


def test_a_run_without_any_answer_fails_with_the_reason(desk: Desk) -> None:
    version = desk.dataset([{"input": f"refuse {i}", "expected": "x"} for i in range(7)], "no", row_schema="eval")
    desk.evals.create_set("no", version.ref, split="test")
    run = desk.evals.run("no", desk.endpoint(), ["exact"])
    with pytest.raises(JobFailed, match="None of 7 requests"):
        desk.evals.wait(run.id, timeout=120)
    ended = desk.evals.get_run(run.id)
    assert ended.figures is not None
    assert ended.figures.metrics[0].mean is None


def test_answers_are_taken_from_the_cache_under_a_fingerprint_only(desk: Desk) -> None:
    quiz(desk, 12)
    desk.finished("quiz", desk.endpoint(fingerprint="mv_1"))
    cached = desk.finished("quiz", desk.endpoint(fingerprint="mv_1"))
    assert cached.figures is not None
    assert cached.figures.cached == 12
    assert len(desk.outside.requests()) == 12
    for target, options in (
        (desk.endpoint(fingerprint="mv_2"), {}),
        (desk.endpoint(fingerprint="mv_1"), {"cache": False}),
        (desk.endpoint(fingerprint="mv_1"), {"sampling": {"temperature": 1}}),
        (desk.endpoint(), {}),
    ):
        run = desk.finished("quiz", target, **options)
        assert run.figures is not None
        assert run.figures.cached == 0
    assert len(desk.outside.requests()) == 60


def test_cached_answers_have_the_time_at_which_they_were_given(both: Desk) -> None:
    quiz(both, 12)
    target = both.endpoint(fingerprint="mv_1")
    first = both.finished("quiz", target)
    second = both.finished("quiz", target)
    assert first.figures is not None
    assert second.figures is not None
    assert first.created_at <= first.figures.oldest_answer_at <= first.finished_at
    assert second.figures.oldest_answer_at == first.figures.oldest_answer_at
    times = [{r.at for r in both.evals.results(run.id, limit=100).items} for run in (first, second)]
    assert times[0] == times[1]
    since = second.created_at.isoformat()
    third = both.finished("quiz", target, answers_since=since)
    assert third.figures is not None
    assert (third.figures.cached, len(both.outside.requests())) == (0, 24)
    assert third.figures.oldest_answer_at >= third.created_at
    # The newer answers took the place of the older ones, so that the next run since then asks nothing.
    fourth = both.finished("quiz", target, answers_since=since)
    assert fourth.figures is not None
    assert (fourth.figures.cached, len(both.outside.requests())) == (12, 24)


def test_failed_answers_are_not_cached_and_a_second_run_asks_only_those(desk: Desk) -> None:
    texts(desk, "flaky 500 1 0 x")
    target = desk.endpoint(fingerprint="mv_1")
    first = desk.finished("odd", target, attempts=1)
    second = desk.finished("odd", target, attempts=1)
    assert first.figures is not None
    assert second.figures is not None
    assert (first.figures.failures, second.figures.failures) == (1, 0)
    assert (second.figures.cached, len(desk.outside.requests())) == (8, 10)


def test_repeats_are_asked_each_with_its_own_seed(desk: Desk) -> None:
    texts(desk, "tell me")
    run = desk.finished("odd", desk.endpoint(), ["exact"], repeats=3, sampling={"seed": 7, "temperature": 1})
    answers = [r.answer for r in desk.evals.results(run.id, limit=100).items if r.answer and "seed" in r.answer]
    assert sorted(answers) == ["seed 7", "seed 8", "seed 9"]
    assert run.figures is not None
    assert run.figures.answers == 27
    assert all(r["body"]["temperature"] == 1 for r in desk.outside.requests())


def test_a_key_makes_starting_a_run_safe_to_repeat(desk: Desk) -> None:
    quiz(desk, 12)
    first = desk.evals.run("quiz", desk.endpoint(), [LABELLED], key="demo-base")
    assert desk.evals.run("quiz", desk.endpoint(), [LABELLED], key="demo-base").id == first.id
    desk.evals.wait(first.id, timeout=120)
    assert len(desk.outside.requests()) == 12


def test_runs_that_measure_other_things_are_not_compared(desk: Desk) -> None:
    quiz(desk)
    texts(desk, "how so")
    first = desk.finished("quiz", desk.endpoint())
    with pytest.raises(RunsDiffer, match="odd@1"):
        desk.evals.compare(first.id, desk.finished("odd", desk.endpoint()).id, IMPROVES)
    other = desk.finished("quiz", desk.endpoint(), [{"scorer": "exact", "name": "accuracy"}])
    with pytest.raises(RunsDiffer, match="different settings"):
        desk.evals.compare(first.id, other.id, IMPROVES)
    with pytest.raises(MetricUnknown) as caught:
        desk.evals.compare(first.id, first.id, {"metric": "acuracy", "minimum_effect": 0.1})
    assert caught.value.hint == "Did you mean accuracy?"


def test_what_cannot_run_is_refused_before_it_starts(desk: Desk) -> None:
    quiz(desk, 12)
    with pytest.raises(TargetInvalid, match="no OTHER_API_KEY"):
        desk.evals.run("quiz", desk.endpoint(api_key_env="OTHER_API_KEY"), [LABELLED])
    with pytest.raises(TargetInvalid, match="no release 'nope@1'"):
        desk.evals.run("quiz", {"release": "nope@1"}, [LABELLED])
    version = desk.dataset([{"text": "x"}], "plain", row_schema="text")
    with pytest.raises(TargetInvalid, match="no labelled texts"):
        desk.evals.run("quiz", {"dataset": version.ref}, [LABELLED])
    with pytest.raises(ScorerInvalid):
        desk.evals.run("quiz", desk.endpoint(), [{"scorer": "regex"}])
    with pytest.raises(EvalRunNotFound):
        desk.evals.get_run("er_nope")
    assert desk.evals.runs().items == []


def test_a_key_of_the_environment_is_sent_and_ours_never(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    quiz(desk, 6)
    monkeypatch.setenv("OTHER_API_KEY", "sk-other")
    desk.finished("quiz", desk.endpoint(api_key_env="OTHER_API_KEY"))
    assert {r["auth"] for r in desk.outside.requests()} == {"Bearer sk-other"}
    monkeypatch.setenv("TIDEMILL_API_KEY", "ours")
    with pytest.raises(TargetInvalid, match="no TIDEMILL_API_KEY"):
        desk.evals.run("quiz", desk.endpoint(api_key_env="TIDEMILL_API_KEY"), [LABELLED])


def test_a_cancelled_run_keeps_what_was_answered(desk: Desk) -> None:
    texts(desk, "how many", *[f"slow {i}" for i in range(20)])
    run = desk.evals.run("odd", desk.endpoint(), [LABELLED], concurrency=8)
    assert run.job_id is not None
    while not desk.evals.results(run.id).items:
        assert desk.evals.get_run(run.id).state in {"queued", "running"}
        time.sleep(0.02)
    desk.http.send("POST", f"/api/jobs/{run.job_id}/cancel")
    while desk.evals.get_run(run.id).state == "running":
        time.sleep(0.02)
    assert desk.evals.get_run(run.id).state == "cancelled"
    assert desk.evals.results(run.id).items


def test_planning_from_assumptions_and_from_a_pilot(desk: Desk) -> None:
    quiz(desk)
    assumed = desk.evals.plan("quiz", minimum_effect=0.05)
    assert assumed.assumed == ["discordance 0.2", "icc 0.3"]
    assert assumed.items_needed is not None
    assert assumed.items_needed > 60
    assert "can only see a difference of" in assumed.summary
    good, bad = desk.finished("quiz", desk.endpoint()), desk.finished("quiz", desk.endpoint("worse"))
    pilot = desk.evals.plan("quiz", pilot_baseline=bad.id, pilot_candidate=good.id, metric="accuracy")
    assert pilot.assumed == []
    assert pilot.discordance == pytest.approx(2 / 3)
    latency = desk.evals.plan("quiz", pilot_baseline=bad.id, pilot_candidate=good.id, metric="latency_ms")
    assert latency.discordance is None
    assert latency.minimum_detectable_effect is not None
    declared = desk.evals.plan("quiz", sd=0.3, icc=0.0)
    assert (declared.assumed, declared.discordance, declared.design_effect) == ([], None, 1)


def test_a_release_is_asked_through_the_gateway_and_cached_by_default(desk: Desk) -> None:
    quiz(desk, 12)
    run = desk.evals.run  # the gateway's place is taken by the outside endpoint: what it gets is what counts
    desk.kernel.self_url, desk.kernel.owner_token = desk.outside.url.removesuffix("/v1"), "own-token"
    with desk.kernel.write(OWNER) as ctx:
        lineage.record(ctx, lineage.LineageNode(id="rel_abc", kind="release", label="trec@1"))
    first = desk.evals.wait(run("quiz", {"release": "trec@1"}, [LABELLED]).id, timeout=120)
    second = desk.evals.wait(run("quiz", {"release": "rel_abc"}, [LABELLED]).id, timeout=120)
    assert second.figures is not None
    assert second.figures.cached == 12
    assert [r.release for r in desk.evals.runs(eval_set="quiz").items] == ["trec@1", "trec@1"]
    assert second.release == "trec@1"
    requests = desk.outside.requests()
    assert {r["auth"] for r in requests} == {"Bearer own-token"}
    assert [r["body"]["model"] for r in requests] == ["trec@1"] * 12
    assert all("temperature" not in r["body"] for r in requests)
    with desk.kernel.db.read() as conn:
        graph = lineage.walk(conn, first.id, "up")
    assert graph is not None
    assert "rel_abc" in {node.id for node in graph.nodes}


def test_a_release_needs_a_server_that_listens(desk: Desk) -> None:
    quiz(desk, 12)
    with desk.kernel.write(OWNER) as ctx:
        lineage.record(ctx, lineage.LineageNode(id="rel_abc", kind="release", label="trec@1"))
    run = desk.evals.run("quiz", {"release": "trec@1"}, [LABELLED])
    with pytest.raises(JobFailed, match="No gateway listens"):
        desk.evals.wait(run.id, timeout=120)
