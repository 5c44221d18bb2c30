"""Runs: each step once, nothing twice, and what may be done with a run."""

from tests.pipelines.conftest import Desk, small


def states(run) -> dict[str, str]:
    return {step.name: step.state for step in run.steps}


def test_a_loop_is_turned_and_the_second_turn_does_nothing_and_says_so(both: Desk) -> None:
    path = both.write()
    plan = both.pipelines.plan(path)
    assert plan.new
    assert {c.action for c in plan.changes} == {"add"}
    assert [s.name for s in plan.steps] == ["data", "eval-set/questions-test", "naive-bayes/questions-test"]
    assert {s.action for s in plan.steps} == {"run"}
    assert both.pipelines.list().items == []  # a plan changes nothing

    assert both.pipelines.apply(path).pipeline.number == 1
    assert both.pipelines.apply(path).changes == []
    first = both.turned()
    assert (first.state, first.changed, first.ref) == ("succeeded", True, "small#1"), first
    assert set(states(first).values()) == {"succeeded"}
    bayes = first.step("naive-bayes/questions-test")
    assert bayes.outputs["means"]["accuracy"] > 0.9

    assert {s.action for s in both.pipelines.plan(path).steps} == {"cached"}
    second = both.turned()
    assert (second.state, second.changed) == ("succeeded", False)
    assert set(states(second).values()) == {"cached"}
    assert "Nothing has changed" in second.summary
    assert {s.cached_from for s in second.steps} == {"small#1"}
    assert both.jobs.list(kind="evals.run").items[0].id == bayes.job_id


def test_a_change_does_again_what_reads_it_and_nothing_else(desk: Desk) -> None:
    path = desk.write()
    desk.pipelines.apply(path)
    desk.turned()
    document = small()
    document["evals"][0]["scorers"].append({"scorer": "exact", "name": "exact"})
    path = desk.write(document, rows=0)
    plan = desk.pipelines.plan(path)
    assert [(c.action, c.path) for c in plan.changes] == [("add", "evals.questions-test.scorers.exact")]
    assert [s.action for s in plan.steps] == ["cached", "cached", "run"]
    desk.pipelines.apply(path)
    run = desk.turned()
    assert run.version == 2
    assert list(states(run).values()) == ["cached", "cached", "succeeded"]
