"""Drift checks on real spans, with the real embedding model, on both databases."""

import json
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.releases.makers import make_release
from tests.traces import answers
from tidemill.core.actors import OWNER
from tidemill.core.kernel import Kernel
from tidemill.core.wire import utc_now
from tidemill.deployments import service as deployments
from tidemill.deployments.types import DeploymentCreate
from tidemill.drift import service, store
from tidemill.drift.embedding import Embedder
from tidemill.drift.types import (
    DriftMonitor,
    DriftMonitorCreate,
    DriftMonitorExists,
    DriftMonitorNotFound,
    DriftReportMissing,
    DriftWindow,
    PeriodReference,
    ReferenceUnfit,
)
from tidemill.feedback import service as scores
from tidemill.feedback.types import ScoreCreate
from tidemill.jobs.kinds import JobKind
from tidemill.server.app import JOBS
from tidemill.traces import service as traces
from tidemill.traces.types import TraceFilter

CITIES = ["Oslo", "Lima", "Bern", "Rome", "Cairo", "Quito", "Seoul", "Delhi", "Paris", "Tunis"]
PEOPLE = ["painted the ceiling", "wrote the novel", "won the race", "founded the company", "sang the song"]
HOUR = 3600 * answers.SECOND


def place(number: int) -> str:
    """A question about a city."""
    return f"In which country is {CITIES[number % 10]}, the city with river number {number}?"


def person(number: int) -> str:
    """A question about somebody."""
    return f"Who {PEOPLE[number % 5]} in the year {1800 + number}?"


def ask(kernel: Kernel, numbers: Sequence[int], ago_hours: float, question=place, said: str = "LOC") -> None:
    """Store one answered question for each number, a second apart."""
    start = time.time_ns() - int(ago_hours * HOUR)
    records = [
        answers.answer(
            n,
            question(n),
            json.dumps({"type": said}),
            start_ns=start + at * answers.SECOND,
            session=f"s{n}",
            user=f"u{n % 7}",
        )
        for at, n in enumerate(numbers)
    ]
    answers.store(kernel, *records)


def spec(**changes: object) -> DriftMonitorCreate:
    """A monitor of the last hours against the day before."""
    now = utc_now()
    given = {
        "name": "questions",
        "environment": "prod",
        "reference": PeriodReference(start=now - timedelta(hours=30), end=now - timedelta(hours=12)),
        "window": DriftWindow(rows=60),
        "minimum_rows": 40,
        "label_field": "type",
        "permutations": 199,
    }
    return DriftMonitorCreate.model_validate(given | changes)


def watch(kernel: Kernel, **changes: object) -> DriftMonitor:
    """Make a monitor."""
    with kernel.write(OWNER) as ctx:
        return service.create_monitor(ctx, spec(**changes))


def test_quiet_traffic_shows_no_drift(local: Kernel) -> None:
    ask(local, [n for n in range(120) if n // 10 % 2 == 0], 24)
    ask(local, [n for n in range(120) if n // 10 % 2 == 1], 1)
    report = service.check(local, OWNER, watch(local, fields=["inputs"]))
    assert report.verdict != "drift", report.summary
    assert (report.rows_reference, report.rows_window) == (60, 60)
    assert {t.name for t in report.tests} >= {"inputs.classifier", "inputs.mmd", "inputs.length"}


def test_a_new_topic_is_found_and_shown(kernel: Kernel) -> None:
    ask(kernel, range(60), 24)
    ask(kernel, range(100, 130), 2)
    ask(kernel, range(200, 230), 1, question=person, said="HUM")
    report = service.check(kernel, OWNER, watch(kernel))
    assert report.verdict == "drift"
    found = {t.name: t for t in report.tests}
    assert found["inputs.classifier"].effect > 0.6
    assert found["inputs.classifier"].adjusted_p <= 0.05
    assert found["outputs.label"].window == pytest.approx({"LOC": 0.5, "HUM": 0.5})
    grown = max((c for c in report.clusters if c.field == "inputs"), key=lambda c: c.change)
    assert grown.share_reference == 0
    assert "who" in grown.terms
    assert grown.examples[0].text.startswith("Who ")
    assert grown.largest_user_share is not None
    with kernel.read(OWNER) as ctx:
        assert service.latest_report(ctx, "questions") == report
        assert service.get_report(ctx, report.id) == report
        assert service.list_reports(ctx, "questions").items == [report]


def test_each_text_is_embedded_once(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    embed = Embedder(kernel, OWNER)
    first = embed([place(1), place(2), place(1)])
    assert first.shape == (3, 384)
    assert (first[0] == first[2]).all()
    assert abs(float((first[0] ** 2).sum()) - 1) < 0.01

    def refuse(*_: object) -> None:
        raise AssertionError("the model was loaded again")

    monkeypatch.setattr("tidemill.drift.embedding.EmbeddingModel", refuse)
    assert (Embedder(kernel, OWNER)([place(2)]) == first[1]).all()
    with kernel.write(OWNER) as ctx:
        assert store.delete_unused_vectors(ctx.conn, utc_now() + timedelta(days=1)) == 2


def test_too_few_rows_say_how_many_more(local: Kernel) -> None:
    ask(local, range(60), 24)
    ask(local, range(100, 125), 1)
    report = service.check(local, OWNER, watch(local, fields=["inputs"]))
    assert report.verdict == "inconclusive"
    assert report.rows_needed == 15
    assert "15 more rows" in report.summary
    assert report.tests == []
    assert "25 in the window" in report.notes[0]


def test_without_any_traffic_the_answer_is_inconclusive(local: Kernel) -> None:
    report = service.check(local, OWNER, watch(local))
    assert report.verdict == "inconclusive"
    assert report.rows_needed == 40
    assert report.window_start is None


def test_old_scores_foretell_the_quality_of_the_new_mix(local: Kernel) -> None:
    ask(local, range(60), 24)
    ask(local, range(60, 120), 23, question=person)
    with local.write(OWNER) as ctx:
        for number in range(120):
            body = ScoreCreate(trace_id=answers.trace_id(number), name="right", score=float(number < 60))
            scores.record_score(ctx, body)
    ask(local, range(200, 260), 1, question=person)
    report = service.check(local, OWNER, watch(local))
    (shift,) = report.quality
    assert shift.score == "right"
    assert shift.before == pytest.approx(0.5)
    assert shift.expected < 0.3
    assert shift.low < shift.change < shift.high < 0
    assert 20 < shift.effective_rows < 120


def test_scores_are_compared_when_both_sides_have_them(kernel: Kernel) -> None:
    ask(kernel, range(60), 24)
    ask(kernel, range(100, 160), 1)
    with kernel.write(OWNER) as ctx:
        for number in [*range(60), *range(100, 160)]:
            value = float(number % 4 > 0) if number < 60 else float(number % 4 == 0)
            scores.record_score(ctx, ScoreCreate(trace_id=answers.trace_id(number), name="right", score=value))
    report = service.check(kernel, OWNER, watch(kernel, fields=["scores"]))
    (test,) = report.tests
    assert (test.name, test.verdict) == ("scores.right", "drift")
    assert test.reference["mean"] == pytest.approx(0.75)
    assert test.window["mean"] == pytest.approx(0.25)


def test_the_window_begins_where_the_reference_ends(local: Kernel) -> None:
    ask(local, range(100), 20)
    ask(local, range(200, 230), 1)
    report = service.check(local, OWNER, watch(local, minimum_rows=20, fields=["inputs"]))
    assert (report.rows_reference, report.rows_window) == (100, 30)
    with pytest.raises(ReferenceUnfit, match="still to come"):
        watch(local, name="late", reference=PeriodReference(start=utc_now(), end=utc_now() + timedelta(hours=1)))


def test_the_newest_spans_of_a_time(kernel: Kernel) -> None:
    ask(kernel, range(10), 30)
    ask(kernel, range(10, 20), 1)
    with kernel.read(OWNER) as ctx:
        end = utc_now()
        found = traces.list_spans(ctx, end - timedelta(days=3), end, TraceFilter(), limit=12, newest=True)
    assert [s.response_id for s in found] == [f"chatcmpl-{n}" for n in range(8, 20)]


def test_a_monitor_is_named_once_and_found_by_near_names(kernel: Kernel) -> None:
    made = watch(kernel)
    with pytest.raises(DriftMonitorExists):
        watch(kernel)
    with kernel.write(OWNER) as ctx:
        assert service.get_monitor(ctx, made.id) == made
        assert service.list_monitors(ctx).items == [made]
        with pytest.raises(DriftMonitorNotFound, match="question"):
            service.get_monitor(ctx, "question")
        with pytest.raises(DriftReportMissing):
            service.newest_report(ctx, "questions")
        service.remove_monitor(ctx, "questions")
        assert service.list_monitors(ctx).items == []


def test_a_monitor_is_due_until_it_was_checked(kernel: Kernel) -> None:
    monitor = watch(kernel)
    with kernel.read(OWNER) as ctx:
        assert [m for m, due in service.list_due_times(ctx) if due <= ctx.now] == [monitor]
    service.check(kernel, OWNER, monitor)
    with kernel.read(OWNER) as ctx:
        assert [due > ctx.now for _, due in service.list_due_times(ctx)] == [True]


def test_the_last_deployment_needs_an_environment_with_a_live_release(local: Kernel) -> None:
    with pytest.raises(ReferenceUnfit, match="environment"):
        watch(local, environment=None, reference={"kind": "deployment"})
    monitor = watch(local, reference={"kind": "deployment"})
    with pytest.raises(ReferenceUnfit, match="live"):
        service.check(local, OWNER, monitor)


def test_a_check_that_is_done_again_gives_the_same_report(kernel: Kernel) -> None:
    monitor = watch(kernel)
    first = service.check(kernel, OWNER, monitor, job_id="job_1")
    assert service.check(kernel, OWNER, monitor, job_id="job_1") == first
    assert isinstance(JOBS["monitors.drift"], JobKind) or callable(JOBS["monitors.drift"])


def test_a_period_goes_forwards() -> None:
    now: datetime = utc_now()
    with pytest.raises(ValueError, match="before it begins"):
        PeriodReference(start=now, end=now - timedelta(hours=1))
    with pytest.raises(ValueError, match="minimum_rows"):
        spec(minimum_rows=100)


def test_the_first_traffic_since_the_deployment_is_the_reference(local: Kernel, tmp_path: Path) -> None:
    with local.write(OWNER) as ctx:
        release = make_release(ctx, tmp_path)
        order = deployments.deploy(ctx, DeploymentCreate(release=release.ref, environment="dev"))
        deployments.go_live(ctx, order.id)
    # What was asked before the release went live belongs to neither side.
    ask(local, range(500, 530), 2)
    live = time.time_ns() + answers.SECOND
    for number in range(100):
        question = place if number < 60 else person
        start = live + number * 1_000_000
        span = answers.answer(number, question(number), start_ns=start, environment="dev", release_id=release.id)
        answers.store(local, span)
    changes = {"environment": "dev", "release": "hello", "reference": {"kind": "deployment"}, "fields": ["inputs"]}
    monitor = watch(local, reference_rows=60, window=DriftWindow(rows=40), **changes)
    time.sleep(max(0.0, (live + answers.SECOND - time.time_ns()) / answers.SECOND))
    report = service.check(local, OWNER, monitor)
    assert (report.rows_reference, report.rows_window) == (60, 40)
    assert report.verdict == "drift"
    assert report.reference_label.startswith("first traffic since ")


def test_odd_texts_do_no_harm(kernel: Kernel) -> None:
    odd = ["{} half", "\x00\x00", "x" * 200_000, "🦀" * 500, " ", "{" * 50_000, "\u202e" * 40]

    def question(number: int) -> str:
        return odd[number % 7] + str(number % 3) if number % 7 != 4 else " "

    ask(kernel, range(70), 24, question=question, said="\x00" * 100)
    ask(kernel, range(100, 170), 1, question=question, said="a" * 500)
    report = service.check(kernel, OWNER, watch(kernel, window=DriftWindow(rows=70)))
    assert {t.rows_window for t in report.tests if t.field == "inputs"} == {60}
    label = next(t for t in report.tests if t.name == "outputs.label")
    assert all(len(name) <= 60 and "\x00" not in name for name in label.window)
    with kernel.read(OWNER) as ctx:
        assert service.get_report(ctx, report.id).tests == report.tests
