"""Eval sets out of every schema, on both databases."""

import pytest

from tests.evals.conftest import Desk, labelled
from tidemill.core import lineage
from tidemill.data.types import DatasetVersionNotFound, SplitNotFound
from tidemill.evals.types import EvalSetInvalid, EvalSetNotFound


def test_a_set_knows_its_items_and_clusters(both: Desk) -> None:
    version = both.dataset(labelled(30), mapping={"fields": {"text": "text", "label": "label", "cluster": "doc"}})
    eval_set = both.evals.create_set("quiz", version.ref, split="train", system="Answer as JSON.")
    assert (eval_set.ref, eval_set.items, eval_set.clusters, eval_set.largest_cluster) == ("quiz@1", 30, 15, 2)
    first = both.evals.items("quiz", limit=1).items[0]
    assert [m.role for m in first.messages] == ["system", "user"]
    assert first.expected in {"NUM", "LOC", "HUM"}
    with both.kernel.db.read() as conn:
        graph = lineage.walk(conn, eval_set.id, "up")
    assert graph is not None
    assert version.id in {node.id for node in graph.nodes}


def test_the_same_content_is_the_same_set(both: Desk) -> None:
    version = both.dataset(labelled(30))
    first = both.evals.create_set("quiz", version.ref, split="train")
    assert both.evals.create_set("quiz", version.id, split="train") == first
    second = both.evals.create_set("quiz", version.ref, split="train", limit=10)
    assert (second.number, second.items) == (2, 10)
    assert both.evals.create_set("quiz", version.ref, split="train", limit=10) == second
    assert both.evals.get_set("quiz") == second
    assert both.evals.get_set("quiz@1") == first
    assert both.evals.get_set(first.id) == first
    assert [s.ref for s in both.evals.sets().items] == ["quiz@2", "quiz@1"]
    page = both.evals.items("quiz@1", limit=20)
    assert len(both.evals.items("quiz@1", cursor=page.next_cursor, limit=20).items) == 10


@pytest.mark.parametrize(
    ("rows", "schema", "roles", "expected"),
    [
        ([{"prompt": "2+2?", "completion": "4"}], "completion", ["user"], "4"),
        ([{"text": "hello"}], "text", ["user"], None),
        ([{"input": "2+2?", "expected": "4"}], "eval", ["user"], "4"),
        (
            [
                {
                    "messages": [
                        {"role": "system", "content": "Be brief."},
                        {"role": "user", "content": "2+2?"},
                        {"role": "assistant", "content": "4"},
                    ]
                }
            ],
            "chat",
            ["system", "user"],
            "4",
        ),
    ],
)
def test_every_schema_makes_items(
    desk: Desk, rows: list[dict[str, object]], schema: str, roles: list[str], expected: str | None
) -> None:
    version = desk.dataset(rows, row_schema=schema)
    desk.evals.create_set("s", version.ref, split=version.splits[0].name)
    item = desk.evals.items("s").items[0]
    assert [m.role for m in item.messages] == roles
    assert item.expected == expected


def test_wrong_wishes_say_what_there_is(desk: Desk) -> None:
    version = desk.dataset(labelled(9))
    with pytest.raises(EvalSetInvalid, match="no column 'colour'") as caught:
        desk.evals.create_set("s", version.ref, split="train", expected="colour")
    assert "label" in (caught.value.hint or "")
    with pytest.raises(SplitNotFound):
        desk.evals.create_set("s", version.ref, split="nope")
    with pytest.raises(DatasetVersionNotFound):
        desk.evals.create_set("s", "questions@9", split="train")
    desk.evals.create_set("quiz", version.ref, split="train")
    with pytest.raises(EvalSetNotFound) as missing:
        desk.evals.get_set("quizz")
    assert missing.value.hint == "Did you mean quiz?"
    for ref in ("quiz@7", "quiz@x", "es_nope"):
        with pytest.raises(EvalSetNotFound):
            desk.evals.get_set(ref)
