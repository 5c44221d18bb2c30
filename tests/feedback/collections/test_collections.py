"""From recorded answers to a dataset version, on SQLite and on PostgreSQL."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.traces.answers import answer, label, store, trace_id
from tidemill.core import lineage
from tidemill.core.actors import OWNER
from tidemill.core.kernel import Kernel
from tidemill.data import service as data
from tidemill.data.types import DatasetVersion
from tidemill.feedback.collections import service
from tidemill.feedback.service import give_feedback
from tidemill.feedback.types import AnswersUnknown, AppendRefused, Collection, Feedback, NothingToCollect, ToDataset
from tidemill.jobs.service import JobQueue
from tidemill.jobs.types import Job

QUESTIONS = [
    "Where is the city of Oslo?",
    "Who wrote Peer Gynt?",
    "How many fjords does Norway have?",
    "What does NATO stand for?",
    "Which animal sleeps all winter long?",
    "Why do leaves fall in autumn?",
]


@pytest.fixture
def working(kernel: Kernel) -> Iterator[Kernel]:
    """A kernel that runs jobs."""
    kernel.get(JobQueue).start(kernel)
    yield kernel
    kernel.get(JobQueue).stop()


def collect(kernel: Kernel, **choice: Any) -> Collection:
    asked = {"dataset": "live", "row_schema": "classification"} | choice
    return service.to_dataset(kernel, OWNER, ToDataset.model_validate(asked))


def ended(kernel: Kernel, collection: Collection) -> Job:
    assert collection.job_id is not None
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with kernel.read(OWNER) as ctx:
            job = kernel.get(JobQueue).get(ctx, collection.job_id)
        if job.ended:
            return job
        time.sleep(0.05)
    raise AssertionError("the import did not end")


def made(kernel: Kernel, collection: Collection) -> DatasetVersion:
    job = ended(kernel, collection)
    assert job.state == "succeeded", job.error
    with kernel.read(OWNER) as ctx:
        return data.get_version(ctx, collection.version_id)


def labels(kernel: Kernel, version: DatasetVersion) -> dict[str, str]:
    rows = data.rows(kernel, version).to_pylist()
    return {row["text"]: row["label"] for row in rows}


def give(kernel: Kernel, number: int, **said: Any) -> None:
    with kernel.write(OWNER) as ctx:
        give_feedback(ctx, Feedback(response_id=f"chatcmpl-{number}", **said))


def fill(kernel: Kernel) -> None:
    store(kernel, *(answer(n, question, label("LOC"), user=f"user-{n % 2}") for n, question in enumerate(QUESTIONS)))


def test_one_answer_becomes_an_item_in_one_call_with_its_lineage(working: Kernel) -> None:
    fill(working)
    with working.write(OWNER) as ctx:
        lineage.record(ctx, lineage.LineageNode(id="rel_one", kind="release", label="hello@1"))
    give(working, 1, thumbs="down", correction={"type": "HUM"})
    collection = collect(working, response_ids=["chatcmpl-1"])
    version = made(working, collection)
    assert (version.ref, [s.name for s in version.splits]) == ("live@1", ["train"])
    assert labels(working, version) == {QUESTIONS[1]: "HUM"}
    with working.read(OWNER) as ctx:
        graph = lineage.walk(ctx.conn, version.id, "up")
        assert graph is not None
        assert {n.kind for n in graph.nodes} == {"dataset_version", "file", "trace_collection", "release"}
        node = next(n for n in graph.nodes if n.kind == "trace_collection")
        assert (node.facts["rows"], node.facts["corrected"]) == (1, 1)
        items = service.list_collection_items(ctx, collection.id).items
        assert [(i.trace_id, i.row, i.corrected, i.reason) for i in items] == [(trace_id(1), 1, True, None)]
        assert service.list_collections(ctx, trace_id=trace_id(1)).items == [collection]
        assert service.list_collections(ctx, trace_id=trace_id(2)).items == []


def test_more_answers_are_added_and_a_newer_correction_wins(working: Kernel) -> None:
    fill(working)
    first = made(working, collect(working, traces=[trace_id(0), trace_id(1)]))
    assert labels(working, first) == {QUESTIONS[0]: "LOC", QUESTIONS[1]: "LOC"}
    give(working, 1, correction="HUM")
    second = made(working, collect(working, traces=[trace_id(1), trace_id(2)]))
    assert second.ref == "live@2"
    assert labels(working, second) == {QUESTIONS[0]: "LOC", QUESTIONS[1]: "HUM", QUESTIONS[2]: "LOC"}
    alone = made(working, collect(working, traces=[trace_id(3)], append=False))
    assert labels(working, alone) == {QUESTIONS[3]: "LOC"}


def test_rows_go_behind_those_of_an_imported_dataset(working: Kernel) -> None:
    fill(working)
    old = b"question,kind\nWhat is the deepest lake on earth?,ENTY\nHow tall is Galdhopiggen?,NUM\n"
    digest = working.blobs.put_bytes(old).hash
    imported = {"name": "live", "sources": [{"name": "q.csv", "hash": digest}], "row_schema": "classification"}
    mapping = {"fields": {"text": "question", "label": "kind"}}
    with working.write(OWNER) as ctx:
        job = data.import_(ctx, data.ImportCreate.model_validate(imported | {"mapping": mapping})).job
    assert job is not None
    collection = Collection.model_construct(job_id=job.id, version_id=job.subject)
    made(working, collection)
    version = made(working, collect(working, response_ids=["chatcmpl-0"]))
    assert version.ref == "live@2"
    assert labels(working, version)["What is the deepest lake on earth?"] == "ENTY"
    assert len(labels(working, version)) == 3
    with pytest.raises(AppendRefused) as caught:
        collect(working, response_ids=["chatcmpl-1"], split="extra")
    assert "append=false" in str(caught.value.hint)


def test_a_filter_takes_what_was_judged_and_caps_each_user(kernel: Kernel) -> None:
    fill(kernel)
    store(kernel, answer(50, "Is this another release?", label("LOC"), release_id="rel_two"))
    for number in range(5):
        give(kernel, number, thumbs="up" if number != 3 else "down")
    give(kernel, 4, correction="ENTY", user="mallory")
    by_release = {"release_id": "rel_one"}
    whole = collect(kernel, filter=by_release)
    assert (whole.rows, whole.quarantined) == (5, {"disliked": 1})
    judged = collect(kernel, filter=by_release, only="judged", append=False)
    assert (judged.rows, judged.quarantined) == (4, {"disliked": 1})
    liked = collect(kernel, filter=by_release, only="liked", cap_per_user=1, append=False)
    assert (liked.rows, liked.quarantined) == (3, {"over_cap": 1})
    with kernel.read(OWNER) as ctx:
        kept = service.list_collection_items(ctx, liked.id, quarantined=False).items
        apart = service.list_collection_items(ctx, liked.id, quarantined=True).items
    assert sorted(str(i.user) for i in kept) == ["mallory", "user-0", "user-1"]
    assert [i.reason for i in apart] == ["over_cap"]
    assert collect(kernel, filter={}, only="corrected", append=False).rows == 1


def test_what_makes_no_row_is_said_at_once(kernel: Kernel) -> None:
    fill(kernel)
    with pytest.raises(AnswersUnknown) as caught:
        collect(kernel, response_ids=["chatcmpl-0", "chatcmpl-none"])
    assert caught.value.details == {"unknown": ["chatcmpl-none"]}
    with pytest.raises(AnswersUnknown):
        collect(kernel, traces=["ab" * 16])
    with pytest.raises(NothingToCollect, match="not_wanted"):
        collect(kernel, response_ids=["chatcmpl-0"], only="corrected")
    with pytest.raises(NothingToCollect, match="there are none"):
        collect(kernel, filter={"model": "nobody"})
    with kernel.read(OWNER) as ctx:
        assert service.list_collections(ctx).items == []


def test_items_added_quickly_after_each_other_are_all_there(kernel: Kernel) -> None:
    fill(kernel)
    collections = [collect(kernel, response_ids=[f"chatcmpl-{n}"]) for n in range(4)]
    kernel.get(JobQueue).start(kernel)
    try:
        versions = [made(kernel, collection) for collection in collections]
    finally:
        kernel.get(JobQueue).stop()
    assert labels(kernel, versions[-1]) == dict.fromkeys(QUESTIONS[:4], "LOC")


def test_what_failed_is_not_built_upon(working: Kernel) -> None:
    fill(working)
    first = collect(working, response_ids=["chatcmpl-0"])
    made(working, first)
    broken = collect(working, response_ids=["chatcmpl-1"], recipe={"steps": [{"step": "length", "min_chars": 10_000}]})
    assert ended(working, broken).state == "failed"
    assert labels(working, made(working, collect(working, response_ids=["chatcmpl-2"]))) == {
        QUESTIONS[0]: "LOC",
        QUESTIONS[2]: "LOC",
    }
