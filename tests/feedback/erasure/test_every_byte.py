"""A name planted wherever a user's content can go is in no byte of the home and no row of the database afterwards."""

import json

import pytest
import sqlalchemy as sa
import zstandard

from tests.traces.answers import answer, label
from tests.traces.makers import NOON, SECOND, call, record, write
from tidemill.core import events
from tidemill.core.actors import OWNER, Actor
from tidemill.core.db import metadata
from tidemill.core.kernel import Kernel
from tidemill.feedback import service as scores
from tidemill.feedback.collections import service as curation
from tidemill.feedback.erasure import service as erasure
from tidemill.feedback.types import Feedback, ToDataset
from tidemill.traces.store import TraceStore

USER = "Zoë Quorraverdi"
WORD = "Zanzibarquark"


def spellings(text: str) -> list[bytes]:
    """The text as it may lie in a file: as UTF-8, and as JSON escapes it."""
    return [text.encode(), json.dumps(text)[1:-1].encode(), text.lower().encode()]


def places(kernel: Kernel, text: str) -> list[str]:
    """Where the text still is: files of the home, blocks of spans, and columns of tables."""
    found = []
    for path in kernel.settings.home.rglob("*"):
        if path.is_file() and any(spelling in path.read_bytes() for spelling in spellings(text)):
            found.append(str(path.relative_to(kernel.settings.home)))
    for day in kernel.get(TraceStore).days.list_days():
        with kernel.get(TraceStore).days.read(day) as reader:
            assert reader is not None
            for (data,) in reader.rows("SELECT data FROM blocks"):
                block = zstandard.ZstdDecompressor().decompress(data)
                found += [f"a block of {day}" for spelling in spellings(text) if spelling in block]
    with kernel.db.engine.connect() as conn:
        for table in metadata.sorted_tables:
            for row in conn.execute(sa.select(table)).mappings():
                found += [f"{table.name}.{key}" for key, value in row.items() if text in str(value)]
    return sorted(set(found))


def plant(kernel: Kernel) -> None:
    """Let the user ask, judge, correct, be collected and be named in a filter."""
    turn = record(10, trace=1, start=NOON, user=USER, session=f"session of {USER}", name="turn")
    reply = call(
        11, f"my secret is {WORD}", trace=1, parent=10, start=NOON + SECOND, response_id="chatcmpl-x", user=USER,
        status_message=f"{WORD} in a message",
    )  # fmt: skip
    write(kernel, turn, reply)
    write(kernel, *(answer(n, f"Where is {WORD} {n}?", label("LOC"), user=USER) for n in range(3)))
    write(kernel, answer(5, "Where is town 5?", label("LOC"), user="bob"))
    app = Actor(id="key_1", name="shop", roles=frozenset({"developer"}))
    for number in range(3):
        body = Feedback(
            response_id=f"chatcmpl-{number}",
            thumbs="down",
            comment=f"no, {WORD}",
            user=USER,
            correction=label("HUM") if number else f"it is {WORD}",
        )
        with kernel.write(app) as ctx:
            given = scores.give_feedback(ctx, body)
            if number == 2:
                scores.delete_score(ctx, given.id)
    spec = {"dataset": "live", "row_schema": "classification", "recipe": {"steps": []}, "filter": {"user": USER}}
    curation.to_dataset(kernel, OWNER, ToDataset.model_validate(spec))
    curation.to_dataset(kernel, OWNER, ToDataset.model_validate(spec | {"dataset": "all", "filter": {}}))
    with kernel.write(OWNER) as ctx:
        events.emit(ctx, "test.named", "somebody", {"deep": [{"user": USER, "model": USER}], "author": USER})


def test_a_name_is_in_no_byte_after_it_was_erased(kernel: Kernel) -> None:
    plant(kernel)
    before = places(kernel, WORD)
    assert any(place.startswith("blobs") for place in before), before
    assert {"events.data", "trace_collections.spec", "scores.user"} <= set(places(kernel, USER))
    done = erasure.erase(kernel, OWNER, USER)
    assert done.answers > 0
    assert places(kernel, WORD) == []
    # The name of a model, a prompt or a file is nobody's name.
    with kernel.read(OWNER) as ctx:
        (event,) = events.list_events(ctx.conn, kind="test.named")
        assert event.data == {"deep": [{"user": "erased", "model": USER}], "author": "erased"}
    assert set(places(kernel, USER)) <= {"events.data", "tidemill.db", "tidemill.db-wal"}
    with kernel.write(OWNER) as ctx:
        ctx.conn.execute(events.events.delete().where(events.events.c.kind == "test.named"))
    erasure.erase(kernel, OWNER, USER)
    assert places(kernel, USER) == []


def test_an_erasure_that_was_broken_off_leaves_no_file_behind(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(kernel)
    with monkeypatch.context() as patch:
        patch.setattr(type(kernel.blobs), "delete", lambda *_: (_ for _ in ()).throw(OSError("the power fails")))
        with pytest.raises(OSError, match="power"):
            erasure.erase(kernel, OWNER, USER)
    assert any(place.startswith("blobs") for place in places(kernel, WORD))
    erasure.erase(kernel, OWNER, USER)
    assert places(kernel, WORD) == []
