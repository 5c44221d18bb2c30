"""Erasing one user, on both databases: nothing of theirs is left, and all else is as it was."""

from typing import Any

import pytest
import zstandard
from typer.testing import CliRunner

from tests.feedback.collections.test_collections import made
from tests.traces.answers import answer, label, trace_id
from tests.traces.makers import NOON, SECOND, call, context, differences, record, traffic, write
from tidemill.cli import app
from tidemill.client import Client
from tidemill.core.actors import OWNER
from tidemill.core.errors import ConfirmationMissing, Forbidden
from tidemill.core.kernel import Kernel
from tidemill.feedback import service as scores
from tidemill.feedback.collections import service as curation
from tidemill.feedback.erasure import service as erasure
from tidemill.feedback.types import Feedback, ToDataset
from tidemill.jobs.service import JobQueue
from tidemill.traces import service
from tidemill.traces.store import TraceStore
from tidemill.traces.types import SpanRecord, TraceFilter, TraceNotFound

DAY = 86_400 * SECOND
SECRET = "Zanzibarquark"


def whole(kernel: Kernel) -> bytes:
    """Every byte of the days' files with their log, of the tables' and indexes' files, and of the opened blocks."""
    found = []
    for day in kernel.get(TraceStore).days.list_days():
        with kernel.get(TraceStore).days.read(day) as look:
            assert look is not None
            blocks = [row[0] for row in look.rows("SELECT data FROM blocks")]
        found += [zstandard.ZstdDecompressor().decompress(data) for data in blocks]
    if kernel.db.is_sqlite:
        return b"".join([*found, *(path.read_bytes() for path in (kernel.settings.home / "traces").iterdir())])
    with kernel.db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.exec_driver_sql("CHECKPOINT")
        files = """SELECT pg_read_binary_file(pg_relation_filepath(c.oid)) FROM pg_class c JOIN pg_namespace n
            ON n.oid = c.relnamespace WHERE n.nspname ~ '^traces_' AND c.relkind IN ('r', 'i')"""
        return b"".join([*found, *(bytes(data) for data in conn.exec_driver_sql(files).scalars())])


def theirs(number: int, user: str, start: int, **fields: Any) -> list[SpanRecord]:
    """A trace of two spans; the application's says the user, the call below it does not."""
    root = record(number * 10, trace=number, start=start, user=user, session=f"session of {user}", name="turn")
    reply = call(
        number * 10 + 1, f"my secret is {SECRET}{number}", trace=number, parent=number * 10, start=start + SECOND,
        response_id=f"chatcmpl-{number}", status_message=f"{SECRET} in a message", cost_usd=0.5, **fields,
    )  # fmt: skip
    return [root, reply]


def test_nothing_of_a_user_is_left_and_the_sums_are_those_of_the_others(kernel: Kernel) -> None:
    write(kernel, *traffic(300))
    write(kernel, *theirs(1, "ada", NOON), *theirs(2, "bob", NOON), *theirs(3, "ada", NOON + DAY))
    write(kernel, *traffic(50, seed=2))
    there = whole(kernel)
    assert all(text in there for text in (b"session of ada", f"my secret is {SECRET}1".encode(), b"chatcmpl-3"))

    with kernel.read(OWNER) as ctx:
        before = erasure.footprint(ctx, "ada")
    done = erasure.erase(kernel, OWNER, "ada")

    assert (before.traces, before.spans) == (done.traces, done.spans) == (2, 4)
    assert done.days == ["2026-11-20", "2026-11-21"]
    assert done.finished_at is not None
    left = whole(kernel)
    for gone in (b"ada", b"Zanzibarquark1", b"Zanzibarquark3", b"zanzibarquark1", b"chatcmpl-1", b"chatcmpl-3"):
        assert gone not in left
    assert b"session of bob" in left
    assert differences(kernel.get(TraceStore)) == []
    ctx = context(kernel)
    for number in (1, 3):
        with pytest.raises(TraceNotFound):
            service.get_trace(ctx, f"{number:032x}")
    assert service.list_traces(ctx, TraceFilter(user="ada")).items == []
    assert {span.trace_id for span in service.search_spans(ctx, f"secret {SECRET}2").items} == {f"{2:032x}"}
    assert service.search_spans(ctx, f"{SECRET}1").items == []
    assert len(service.search_spans(ctx, "answer", limit=500).items) == 350
    kept = service.get_trace(ctx, f"{2:032x}", payload=True).nodes[1].span
    assert kept.input == [{"role": "user", "content": f"my secret is {SECRET}2"}]
    assert sum(day.spans for day in service.list_days(ctx)) in (352, 353)


def test_who_reads_on_misses_nothing_and_the_user_may_come_back(kernel: Kernel) -> None:
    write(kernel, *theirs(2, "bob", NOON), *theirs(1, "ada", NOON))
    seen = service.tail_end(context(kernel))
    for _ in range(2):  # again changes nothing
        erasure.erase(kernel, OWNER, "ada")
        assert service.read_tail(context(kernel), after=seen).spans == []
        assert differences(kernel.get(TraceStore)) == []
    write(kernel, *theirs(4, "ada", NOON))
    assert [span.trace_id for span in service.read_tail(context(kernel), after=seen).spans] == [f"{4:032x}"] * 2
    assert [trace.user for trace in service.list_traces(context(kernel)).items] == ["ada", "bob"]
    assert erasure.erase(kernel, OWNER, "ada").spans == 2
    assert differences(kernel.get(TraceStore)) == []
    assert [trace.user for trace in service.list_traces(context(kernel)).items] == ["bob"]


def test_the_applications_own_report_of_a_reply_goes_too(kernel: Kernel) -> None:
    gateway, twin, other = theirs(1, "ada", NOON)[1], theirs(2, "", NOON)[1], theirs(3, "bob", NOON)
    gateway.user, gateway.parent_id, twin.parent_id, twin.response_id = "ada", None, None, gateway.response_id
    write(kernel, gateway, twin, *other)
    assert erasure.erase(kernel, OWNER, "ada").traces == 2
    assert [trace.user for trace in service.list_traces(context(kernel)).items] == ["bob"]
    assert differences(kernel.get(TraceStore)) == []


def test_scores_and_collected_rows_go_and_what_was_made_of_them_is_named(kernel: Kernel) -> None:
    kernel.get(JobQueue).start(kernel)
    try:
        users = ["ada", "bob", "ada", "cyd"]
        write(kernel, *(answer(n, f"Where is town {n}?", label("LOC"), user=user) for n, user in enumerate(users)))
        for number in range(4):
            said = Feedback(response_id=f"chatcmpl-{number}", thumbs="up", comment="well", user=users[number])
            with kernel.write(OWNER) as ctx:
                scores.give_feedback(ctx, said)
        with kernel.write(OWNER) as ctx:
            scores.give_feedback(ctx, Feedback(response_id="chatcmpl-1", thumbs="down", user="ada"))
            scores.give_feedback(ctx, Feedback(response_id="chatcmpl-0", thumbs="down"))
        spec = {"dataset": "live", "row_schema": "classification", "recipe": {"steps": []}}
        first = curation.to_dataset(kernel, OWNER, ToDataset.model_validate(spec | {"filter": {}}))
        assert made(kernel, first).rows == 4

        done = erasure.erase(kernel, OWNER, "ada")
        assert (done.traces, done.scores, done.answers) == (2, 4, 2)
        assert (done.datasets, done.models) == (["live@1"], [])
        with kernel.read(OWNER) as ctx:
            assert {s.user for s in scores.list_scores(ctx)} == {"bob", "cyd"}
            held = curation.list_collection_items(ctx, first.id).items
        assert [(item.user, item.reason) for item in held if item.trace_id == ""] == [(None, "erased")] * 2
        assert {item.user for item in held} == {None, "bob", "cyd"}

        # A version that builds on the collection leaves the lines out.
        write(kernel, answer(9, "Where is town 9?", label("LOC"), user="cyd"))
        second = curation.to_dataset(kernel, OWNER, ToDataset.model_validate(spec | {"traces": [trace_id(9)]}))
        assert made(kernel, second).rows == 3
        again = erasure.erase(kernel, OWNER, "ada")
        assert (again.traces, again.scores, again.answers, again.datasets) == (0, 0, 0, [])
        with kernel.read(OWNER) as ctx:
            records = erasure.list_erasures(ctx, user="ada").items
        assert [one.id for one in records] == [again.id, done.id]
        assert "ada" not in records[1].model_dump_json()
    finally:
        kernel.get(JobQueue).stop()


def test_an_erasure_that_was_broken_off_is_finished_by_the_next(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(kernel, *theirs(1, "ada", NOON), *theirs(2, "ada", NOON + DAY))
    reclaim = type(kernel.get(TraceStore).days)
    with monkeypatch.context() as patch:
        patch.setattr(reclaim, "reclaim", lambda *_: (_ for _ in ()).throw(OSError("the power fails")))
        with pytest.raises(OSError, match="power"):
            erasure.erase(kernel, OWNER, "ada")
    with kernel.read(OWNER) as ctx:
        assert erasure.list_erasures(ctx).items[0].finished_at is None
    erasure.erase(kernel, OWNER, "ada")
    with kernel.read(OWNER) as ctx:
        assert all(one.finished_at for one in erasure.list_erasures(ctx).items)
    assert b"ada" not in whole(kernel)


def test_the_command_asks_and_only_an_admin_may(home: Any) -> None:
    with Client() as client:
        client.access.create_person("dave", roles=["developer"])
        key = client.access.create_key("dave").secret
    with Client(api_key=key) as dave, pytest.raises(Forbidden):
        dave.traces.erase("ada")
    run = CliRunner()
    refused = run.invoke(app, ["traces", "erase", "--user", "ada/../x"])
    assert refused.exit_code == 1
    assert isinstance(refused.exception, ConfirmationMissing)
    done = run.invoke(app, ["traces", "erase", "--user", "ada/x y", "--yes"])
    assert "so nothing was erased" in done.output, done.output
    assert "ers_" in run.invoke(app, ["--json", "traces", "erasures"]).output


@pytest.mark.parametrize("user", ["bo@example.com", "bo 5%", "team/bo", "Zoë", "bo?x=1#y", "../bo", "100%41"])
def test_a_user_of_any_name_is_found_and_erased_through_the_sdk(client: Client, user: str) -> None:
    writer = client.http.client._transport.app.__self__.kernel.get(TraceStore)  # type: ignore[attr-defined]
    writer.write(theirs(1, user, NOON))
    assert client.traces.erasures.footprint(user).traces == 1
    erased = client.traces.erasures.erase(user)
    assert (erased.traces, erased.spans) == (1, 2)
    assert client.traces.erasures.footprint(user).traces == 0


def test_erasing_nobody_says_so(client: Client) -> None:
    result = CliRunner().invoke(app, ["traces", "erase", "--user", "nobody", "--yes"])
    assert result.exit_code == 0, result.output
    assert "Nothing of 'nobody' is stored" in result.output
