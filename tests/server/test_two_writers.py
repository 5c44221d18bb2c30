"""Two writers make the same thing at once: the second waits for the first, and then finds it there."""

from collections.abc import Callable
from threading import Event, Thread

import pytest

from tests.releases.makers import make_run, make_set
from tidemill.access import service as access
from tidemill.access.types import LastAdmin, PersonCreate, PersonExists, PersonUpdate
from tidemill.core import lineage
from tidemill.core.actors import OWNER
from tidemill.core.errors import TidemillError
from tidemill.core.kernel import Context, Kernel
from tidemill.evals import service as evals
from tidemill.evals.online import service as online
from tidemill.evals.types import ComparisonSpec, MetricRule, OnlineCreate, OnlineExists
from tidemill.kpis import service as kpis
from tidemill.kpis.types import KpiPut
from tidemill.notifications.service import notifiers
from tidemill.notifications.types import NotifierPut
from tidemill.slos import service as slos
from tidemill.slos.types import SloPut

EVALUATOR = {"name": "new", "scorer": {"scorer": "json_schema", "name": "valid", "config": {"json_schema": {}}}}
FILE = lineage.LineageNode(id="f" * 64, kind="file", label="rows.jsonl")
Write = Callable[[Context], object]

PUTS: dict[str, tuple[Write, type[TidemillError] | None]] = {
    "slo": (lambda ctx: slos.put(ctx, "new", SloPut(kind="errors", goal=0.99)), None),
    "kpi": (lambda ctx: kpis.put(ctx, "new", KpiPut(score="feedback", floor=0.8)), None),
    "notifier": (
        lambda ctx: notifiers.put(ctx, "new", NotifierPut.model_validate({"kind": "webhook", "url": "http://x/y"})),
        None,
    ),
    "online": (lambda ctx: online.create(ctx, OnlineCreate.model_validate(EVALUATOR)), OnlineExists),
    "person": (lambda ctx: access.create_person(ctx, PersonCreate(name="new", roles=["viewer"])), PersonExists),
    "lineage": (lambda ctx: lineage.record(ctx, FILE), None),
}


def _write_while(kernel: Kernel, first: Write, second: Write) -> list[BaseException]:
    """Run `second` in a transaction of its own that begins before `first` is committed. Return what it raised."""
    began, raised = Event(), []

    def run() -> None:
        began.set()
        try:
            with kernel.write(OWNER) as ctx:
                second(ctx)
        except BaseException as error:  # noqa: BLE001
            raised.append(error)

    thread = Thread(target=run)
    with kernel.write(OWNER) as ctx:
        first(ctx)
        thread.start()
        assert began.wait(10)
        thread.join(0.2)  # time to read what is not committed yet, and to wait for it
    thread.join(30)
    assert not thread.is_alive()
    return raised


def test_two_runs_that_two_compare_at_once_are_compared_once(kernel: Kernel) -> None:
    with kernel.write(OWNER) as ctx:
        questions = make_set(ctx)
        runs = [make_run(ctx, questions, right) for right in (90, 100)]
    rule = MetricRule(metric="accuracy", minimum_effect=0.1)
    spec = ComparisonSpec(primary=rule, baseline_run=runs[0].id, candidate_run=runs[1].id)
    verdicts: list[str] = []
    raised = _write_while(kernel, *[lambda ctx: verdicts.append(evals.compare(ctx, spec).id)] * 2)
    assert raised == []
    assert verdicts[0] == verdicts[1]


@pytest.mark.parametrize("name", PUTS)
def test_a_name_that_two_make_at_once_is_made_once(kernel: Kernel, name: str) -> None:
    put, refusal = PUTS[name]
    raised = _write_while(kernel, put, put)
    assert [type(error) for error in raised] == ([refusal] if refusal is not None else [])


def test_of_two_admins_who_remove_each_other_one_stays(kernel: Kernel) -> None:
    with kernel.write(OWNER) as ctx:
        for name in ("anna", "ben"):
            access.create_person(ctx, PersonCreate(name=name, roles=["admin"]))
    change = PersonUpdate(roles=["viewer"])
    raised = _write_while(
        kernel,
        lambda ctx: access.update_person(ctx, "anna", change),
        lambda ctx: access.update_person(ctx, "ben", change),
    )
    assert [type(error) for error in raised] == [LastAdmin]
