"""Wire values, ids, transactions, lineage, presence."""

import fcntl
import json
import math
import os
import subprocess
import sys
import threading

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from tidemill.core import events, lineage, server_lock
from tidemill.core.actors import OWNER
from tidemill.core.db import NumberTooLarge, SchemaTooNew
from tidemill.core.errors import ErrorBody, Failed, NotFound, TidemillError, rebuild
from tidemill.core.kernel import Context, Kernel
from tidemill.core.wire import canonical_json, content_hash, new_id
from tidemill.prompts import service as prompts
from tidemill.prompts.types import PromptNotFound

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_a_content_hash_does_not_depend_on_order_and_survives_a_round_trip(value) -> None:
    again = json.loads(canonical_json(value))
    assert content_hash(again) == content_hash(value)
    if isinstance(value, dict):
        assert content_hash(dict(reversed(value.items()))) == content_hash(value)


def test_ids_sort_by_time() -> None:
    ids = [new_id("x") for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert ids == sorted(ids)


def test_an_error_in_a_unit_of_work_keeps_nothing(kernel: Kernel) -> None:
    def broken() -> None:
        with kernel.write(OWNER) as ctx:
            events.emit(ctx, "test.happened", "x")
            raise NotFound("no")

    with pytest.raises(NotFound):
        broken()
    with kernel.read(OWNER) as ctx:
        assert events.list_events(ctx.conn) == []


def test_an_action_waits_for_the_commit_and_is_dropped_with_a_rollback(kernel: Kernel) -> None:
    done: list[str] = []

    def broken() -> None:
        with kernel.write(OWNER) as ctx:
            ctx.once_committed(lambda: done.append("never"))
            raise NotFound("no")

    with pytest.raises(NotFound):
        broken()
    with kernel.write(OWNER) as ctx:
        ctx.once_committed(lambda: done.append("after"))
        assert done == []
    assert done == ["after"]


def test_lineage_walks_both_ways_and_entering_twice_changes_nothing(ctx: Context) -> None:
    for name, parents in (("data", []), ("model", [("data", "trained_on")]), ("release", [("model", "contains")])):
        for _ in range(2):
            lineage.record(ctx, lineage.LineageNode(id=name, kind="k", label=name), parents)
    up = lineage.walk(ctx.conn, "release", "up")
    down = lineage.walk(ctx.conn, "data", "down")
    assert up is not None
    assert down is not None
    assert {n.id for n in up.nodes} == {n.id for n in down.nodes} == {"data", "model", "release"}
    assert len(up.edges) == len(down.edges) == 2
    assert lineage.walk(ctx.conn, "nothing", "up") is None


def test_a_database_from_the_future_is_refused(kernel: Kernel) -> None:
    with kernel.db.begin() as conn:
        conn.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaTooNew):
        kernel.db.migrate()


def test_an_error_comes_back_as_the_class_it_was() -> None:
    error = PromptNotFound("no such", hint="look", param="ref", details={"a": 1})
    again = rebuild(error.status, error.body())
    assert type(again) is PromptNotFound
    assert (again.message, again.hint, again.param, again.details) == ("no such", "look", "ref", {"a": 1})
    unknown = rebuild(404, ErrorBody(message="m", type="t", code="from_the_future"))
    assert isinstance(unknown, NotFound)
    assert isinstance(rebuild(599, ErrorBody(message="m", type="t")), TidemillError)
    assert not isinstance(rebuild(404, ErrorBody(message="m", type="t", code="x")), Failed)


def test_one_server_a_home_and_a_killed_one_leaves_it_free(tmp_path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from tidemill.core import server_lock\n"
        "home = Path(sys.argv[1])\n"
        "with server_lock.acquire(home):\n"
        "    server_lock.publish(home, server_lock.ServerAddress(url='http://x', pid=1, token='t'))\n"
        "    print('held', flush=True); time.sleep(600)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    address = server_lock.find(tmp_path)
    assert address is not None
    assert address.url == "http://x"
    with pytest.raises(server_lock.HomeInUse), server_lock.acquire(tmp_path):
        pass
    child.kill()
    child.wait()
    child.stdout.close()
    assert server_lock.find(tmp_path) is None
    with server_lock.acquire(tmp_path):
        assert server_lock.find(tmp_path) is None


def test_a_look_at_a_home_does_not_keep_a_server_from_starting(tmp_path) -> None:
    with server_lock.acquire(tmp_path):
        assert server_lock.is_held(tmp_path)
    handle = os.open(tmp_path / "run" / "server.lock", os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_SH)  # as `find` does, held longer than it ever is
    timer = threading.Timer(0.05, os.close, [handle])
    timer.start()
    with server_lock.acquire(tmp_path):
        timer.join()
        assert server_lock.is_held(tmp_path)


def test_a_number_that_no_database_holds_is_bad_input(kernel: Kernel) -> None:
    # PostgreSQL compares numbers of any size, so there such a version is just not there.
    with pytest.raises((NumberTooLarge, PromptNotFound)), kernel.read(OWNER) as ctx:
        prompts.get(ctx, "hello@" + "9" * 30)
    with pytest.raises(OverflowError, match="math"), kernel.read(OWNER):
        math.exp(1000)
