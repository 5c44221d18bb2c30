"""Imports on SQLite and PostgreSQL: what becomes of rows, versions, the catalogue and the lineage."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.conftest import Desk, jsonl
from tests.data.test_splits import log_lines
from tidemill.core import events, lineage
from tidemill.core.actors import OWNER
from tidemill.core.errors import StorageFull
from tidemill.data import service, types

SPLIT = {"ratios": {"train": 0.8, "test": 0.2}}
TOPICS = ["rivers", "kings", "engines", "planets", "poems", "bridges", "sharks", "glaciers", "violins", "comets"]


def questions(count: int) -> list[dict[str, str]]:
    """Different questions with two labels."""
    return [
        {"text": f"{TOPICS[n % 10]} {n * 7919} and {TOPICS[n // 10 % 10]} {n * 104729}?", "label": "ab"[n % 2]}
        for n in range(count)
    ]


def test_a_version_is_made_recorded_and_read(both: Desk) -> None:
    version = both.import_(
        "q.jsonl", jsonl(*questions(100)), split=SPLIT, catalogue={"owner": "team", "licence": "MIT"}
    )
    assert (version.ref, version.row_schema, version.rows) == ("set@1", "classification", 100)
    assert {split.name: split.rows for split in version.splits} == {"train": 80, "test": 20}
    assert version.statistics.labels == {"a": {"train": 40, "test": 10}, "b": {"train": 40, "test": 10}}
    rows = both.rows(version)
    assert sorted((row["text"], row["label"]) for row in rows) == sorted(
        (q["text"], q["label"]) for q in questions(100)
    )
    assert len({row["id"] for row in rows}) == 100
    with both.kernel.read(OWNER) as ctx:
        assert service.get_version(ctx, "set@1") == service.get_version(ctx, version.id) == version
        assert service.get_dataset(ctx, "set").catalogue.owner == "team"
        assert [v.id for v in service.list_versions(ctx, "set").items] == [version.id]
        graph = lineage.walk(ctx.conn, version.id, "up")
        assert graph is not None
        assert {node.id for node in graph.nodes} == {version.id, version.sources[0].hash}
        assert [event.subject for event in events.list_events(ctx.conn, kind="dataset_version.created")] == [version.id]
    table = service.rows(both.kernel, version, "test")
    assert table.column_names == ["id", "cluster_id", "split", "text", "label"]
    assert set(table["split"].to_pylist()) == {"test"}


def test_the_same_input_and_recipe_is_the_same_version(both: Desk) -> None:
    first = both.import_("q.jsonl", jsonl(*questions(50)), split=SPLIT)
    again = both.import_("other-name.jsonl", jsonl(*questions(50)), split=SPLIT)
    assert again == first
    other = both.import_("q.jsonl", jsonl(*questions(50)), split=SPLIT | {"seed": 1})
    assert (other.version, other.content_hash == first.content_hash) == (2, False)
    elsewhere = both.import_("q.jsonl", jsonl(*questions(50)), split=SPLIT, name="elsewhere")
    assert (elsewhere.ref, elsewhere.content_hash) == ("elsewhere@1", first.content_hash)


def test_the_order_of_splits_survives_the_database(both: Desk) -> None:
    rows = [{"text": f"{TOPICS[n]} only", "when": f"2026-01-{n + 1:02d}"} for n in range(10)]
    options = {"mapping": {"fields": {"text": "text", "time": "when"}}}
    ratios = {"zz-first-and-long": 0.5, "b": 0.3, "a": 0.2}
    version = both.import_("q.jsonl", jsonl(*rows), split={"ratios": ratios, "by": "time"}, **options)
    assert list(version.plan.split.ratios) == list(ratios)
    got = {
        split.name: [row["time"][:10] for row in both.data.rows(version.id, split=split.name)]
        for split in version.splits
    }
    assert got["zz-first-and-long"] == [f"2026-01-{n:02d}" for n in range(1, 6)]
    assert got["a"] == ["2026-01-09", "2026-01-10"]


def test_a_version_compares_with_another(both: Desk) -> None:
    rows = questions(40)
    both.import_("q.jsonl", jsonl(*rows), split=SPLIT)
    rows[0] = {**rows[0], "label": "b"}
    both.import_("q.jsonl", jsonl(*rows[:-1], *questions(46)[41::2]), split=SPLIT)
    difference = both.data.diff("set@1", "set@2")
    assert (difference.added, difference.removed, difference.changed) == (3, 1, 1)
    assert difference.unchanged + difference.moved == 38
    assert difference.changed_examples[0].before["label"] == "a"
    shifts = {shift.label: (shift.rows_before, shift.rows_after) for shift in difference.labels}
    assert shifts == {"a": (20, 19), "b": (20, 23)}
    assert difference.label_distance == pytest.approx(23 / 42 - 0.5, abs=1e-6)


def test_the_catalogue_changes_field_by_field(both: Desk) -> None:
    both.import_("q.jsonl", jsonl(*questions(4)), catalogue={"owner": "team"})
    both.data.set_catalogue("set", licence="CC-BY-4.0", retention_days=30)
    catalogue = both.data.set_catalogue("set", owner=None).catalogue
    assert (catalogue.owner, catalogue.licence, catalogue.retention_days) == (None, "CC-BY-4.0", 30)
    with both.kernel.read(OWNER) as ctx:
        assert len(events.list_events(ctx.conn, kind="dataset.catalogue_set")) == 3


def test_unknown_references_suggest_the_nearest(both: Desk) -> None:
    both.import_("q.jsonl", jsonl(*questions(4)), name="questions")
    with pytest.raises(types.DatasetNotFound) as caught:
        both.data.version("qestions")
    assert "questions" in (caught.value.hint or "")
    for ref in ("questions@2", "questions@x", "dsv_nothing"):
        with pytest.raises(types.DatasetVersionNotFound):
            both.data.version(ref)
    with pytest.raises(types.SplitNotFound, match="no split 'tain'") as missing:
        both.data.preview("questions", split="tain")
    assert "Did you mean 'train'" in (missing.value.hint or "")


def test_a_dataset_keeps_its_schema(both: Desk) -> None:
    version = both.import_("q.jsonl", jsonl(*questions(4)))
    with pytest.raises(types.SchemaConflict):
        both.import_("q.jsonl", jsonl(*questions(4)), row_schema="text")
    with pytest.raises(types.SchemaUnfit, match="needs chat or completion"):
        service.require_schema(version, "chat", "completion")


def test_datasets_are_listed_page_by_page(both: Desk) -> None:
    for name in ("b", "a", "c"):
        both.import_("q.jsonl", jsonl(*questions(4)), name=name)
    first = both.data.list(limit=2)
    assert [item.name for item in first.items] == ["a", "b"]
    assert [item.name for item in both.data.list(cursor=first.next_cursor, limit=2).items] == ["c"]


def test_a_full_disk_leaves_nothing(both: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StorageFull("No room.", hint="Free some.")

    monkeypatch.setattr(type(both.kernel.blobs), "put_file", full)
    with pytest.raises(StorageFull):
        both.import_("q.jsonl", jsonl(*questions(4)))
    assert both.data.list().items == []


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "jsonl.gz", "parquet", "utf-16"])
def test_all_formats_give_the_same_rows(desk: Desk, kind: str) -> None:
    rows = [{"text": 'a "quoted", text', "label": "x"}, {"text": "zwei\nZeilen – ü", "label": "y"}]
    table = "text{0}label\n" + "".join('"{}"{{0}}{}\n'.format(r["text"].replace('"', '""'), r["label"]) for r in rows)
    options: dict[str, object] = {"recipe": {"steps": []}}
    content: bytes
    if kind == "parquet":
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        content = sink.getvalue().to_pybytes()
    elif kind.startswith("jsonl"):
        content = jsonl(*rows).encode()
        content = gzip.compress(content) if kind.endswith("gz") else content
    elif kind == "utf-16":
        content = table.format(",").encode("utf-16")
        options["read"] = {"encoding": "utf-16", "format": "csv"}
    else:
        content = b"\xef\xbb\xbf" + table.format("\t" if kind == "tsv" else ";").encode()
    version = desk.import_(f"a.{kind}", content, **options)
    assert [(row["text"], row["label"]) for row in desk.rows(version)] == [(r["text"], r["label"]) for r in rows]


def test_a_folder_is_read_in_the_order_of_names(desk: Desk) -> None:
    desk.file("many/b.csv", "text,label\nthird row,y\n")
    desk.file("many/a/1.jsonl", jsonl({"text": "first row", "label": "x"}, {"text": "second row", "label": "y"}))
    desk.file("many/.hidden.csv", "text,label\nno,x\n")
    desk.file("many/notes.md", "not data")
    version = desk.data.import_(desk.folder / "many", name="set", recipe={"steps": []})
    assert [row["text"] for row in desk.rows(version)] == ["first row", "second row", "third row"]
    assert [(source.name, source.rows) for source in version.sources] == [("a/1.jsonl", 2), ("b.csv", 1)]


@pytest.mark.parametrize(
    ("record", "options", "schema", "row"),
    [
        (
            {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]},
            {},
            "chat",
            {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]},
        ),
        (
            {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]},
            {},
            "chat",
            {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]},
        ),
        (
            {"q": "Hi", "a": "Ho"},
            {"mapping": {"fields": {"user": "q", "assistant": "a"}}},
            "chat",
            {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]},
        ),
        ({"prompt": "Hi", "completion": "Ho"}, {}, "completion", {"prompt": "Hi", "completion": "Ho"}),
        (
            {"instruction": "Add", "input": "1+1", "output": "2"},
            {"row_schema": "completion", "mapping": {"fields": {"prompt": "{{instruction}}: {{input}}"}}},
            "completion",
            {"prompt": "Add: 1+1", "completion": "2"},
        ),
        ({"text": "Hi", "label": True}, {}, "classification", {"text": "Hi", "label": "true"}),
        (
            {"text": "Hi", "meta": {"kind": "x"}},
            {"mapping": {"fields": {"label": "meta.kind"}, "label_values": {"x": "y"}}},
            "classification",
            {"text": "Hi", "label": "y"},
        ),
        ({"document": "Hi"}, {}, "text", {"text": "Hi"}),
        (
            {"input": "Hi", "expected_output": {"n": 1}, "metadata": {"k": 2}},
            {"row_schema": "eval"},
            "eval",
            {"input": "Hi", "expected": '{"n":1}', "metadata": '{"k":2}'},
        ),
    ],
)
def test_schemas_and_mappings(desk: Desk, record: dict, options: dict, schema: str, row: dict) -> None:
    version = desk.import_("a.jsonl", jsonl(record), **options)
    assert version.row_schema == schema
    (only_row,) = desk.rows(version)
    assert {key: only_row[key] for key in row} == row
    assert version.splits[0].name == ("test" if schema == "eval" else "train")


def test_the_recipe_counts_and_shows_masked_examples(desk: Desk) -> None:
    rows = [
        "Das ist ein langer deutscher Satz über das Wetter.",
        "The cafÃ© is  open ",
        "Write to joe@example.com about the meeting on Monday",
        "Write to ann@example.com about the meeting on Monday",
        "",
        "The train to the north leaves at noon from platform nine",
        "the train to the north leaves at noon, from platform nine!",
        "no",
    ]
    steps = [
        {"step": "unicode"},
        {"step": "whitespace"},
        {"step": "length", "min_chars": 3},
        {"step": "language", "keep": ["en"]},
        {"step": "pii"},
        {"step": "exact_duplicates"},
        {"step": "near_duplicates"},
    ]
    version = desk.import_("a.jsonl", jsonl(*({"text": text} for text in rows)), recipe={"steps": steps})
    counts = {step.step: (step.rows_in, step.rows_out, step.changed) for step in version.steps}
    assert counts == {
        "unicode": (8, 8, 1),
        "whitespace": (8, 8, 1),
        "length": (8, 6, 0),
        "language": (6, 5, 0),
        "pii": (5, 5, 2),
        "exact_duplicates": (5, 4, 0),
        "near_duplicates": (4, 3, 0),
    }
    assert [row["text"] for row in desk.rows(version)] == [
        "The café is open",
        "Write to [EMAIL] about the meeting on Monday",
        "The train to the north leaves at noon from platform nine",
    ]
    text = version.model_dump_json()
    assert "@example.com" not in text
    assert {step.step: step.figures for step in version.steps}["pii"] == {"email": 2}
    near = version.steps[-1].examples[0]
    assert near.source == "a.jsonl:7"
    assert near.reason.endswith("like a.jsonl:6")


@pytest.mark.parametrize(("action", "texts"), [("drop", ["plain words"]), ("report", ["plain words", "to a@b.de"])])
def test_personal_data_can_be_dropped_or_reported(desk: Desk, action: str, texts: list[str]) -> None:
    recipe = {"steps": [{"step": "pii", "action": action}]}
    version = desk.import_("a.txt", "plain words\nto a@b.de\n", recipe=recipe)
    assert [row["text"] for row in desk.rows(version)] == texts
    assert version.steps[0].figures == {"email": 1}


def test_rows_of_a_cluster_stay_together_and_prompts_with_several_answers_too(desk: Desk) -> None:
    rows = [
        {"prompt": f"{TOPICS[n % 10]} {n // 2 * 7919}", "completion": f"answer {n}", "user": f"u{n % 15}"}
        for n in range(60)
    ]
    mapping = {"fields": {"cluster": "user"}}
    version = desk.import_("a.jsonl", jsonl(*rows), mapping=mapping, split=SPLIT, recipe={"steps": []})
    user = {row["completion"]: row["user"] for row in rows}
    splits: dict[str, set[str]] = {}
    for row in desk.rows(version):
        splits.setdefault(user[row["completion"]], set()).add(row["split"])
    assert all(len(names) == 1 for names in splits.values())
    assert version.leaks.found[0].exact == version.leaks.found[0].near == 0


def test_lines_of_one_template_are_kept_and_the_leak_report_counts_them(desk: Desk) -> None:
    lines = [{"text": line, "label": "urgent" if number % 3 else "later"} for number, line in enumerate(log_lines(440))]
    split = {"ratios": {"train": 0.8, "test": 0.2}}
    version = desk.import_("a.jsonl", jsonl(*lines), split=split)
    assert version.rows == 440, "other numbers teach something else"
    leak = version.leaks.found[0]
    assert (leak.exact, leak.near, leak.twins, version.leaks.twins_complete) == (0, 0, leak.rows, True)
    assert len(leak.twin_example) == 2
    again = desk.import_("a.jsonl", jsonl(*lines), split=split)
    assert again.id == version.id
    apart = desk.import_("a.jsonl", jsonl(*lines), split={**split, "templates": True})
    assert 0 < (apart.leaks.found[0].twins or 0) < leak.rows / 2, "the user's name is no part that varies"
    assert apart.rows == 440


def test_repeated_rows_have_ids_of_their_own(desk: Desk) -> None:
    version = desk.import_("a.txt", "same\nsame\nsame\n", recipe={"steps": []})
    ids = [row["id"] for row in desk.rows(version)]
    assert ids == [ids[0], f"{ids[0]}-2", f"{ids[0]}-3"]
    assert len({row["cluster_id"] for row in desk.rows(version)}) == 1


def test_rows_without_a_value_can_be_dropped(desk: Desk) -> None:
    content = jsonl({"text": "a b c", "label": "x"}, {"text": "d e f"}, {"label": "x"})
    version = desk.import_("a.jsonl", content, mapping={"missing": "drop"})
    assert (version.rows, version.steps[0].step, version.steps[0].dropped) == (1, "mapping", 2)


def test_export_writes_one_file_per_split(desk: Desk, tmp_path: Path) -> None:
    version = desk.import_("q.jsonl", jsonl(*questions(20)), split=SPLIT)
    for kind in ("jsonl", "csv", "parquet"):
        files = desk.data.export(version.ref, tmp_path / "out", kind=kind)
        assert [path.name for path in files] == [f"set-1-train.{kind}", f"set-1-test.{kind}"]
    lines = (tmp_path / "out" / "set-1-test.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == [row["text"] for row in desk.data.rows("set", split="test")]
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")) == []


def test_preview_pages_through_row_groups(desk: Desk) -> None:
    version = desk.import_("q.jsonl", jsonl(*questions(17_000)), recipe={"steps": []})
    pages = [desk.data.preview(version.ref, offset=offset, limit=3) for offset in (0, 16_383, 16_999, 20_000)]
    assert [len(page.rows) for page in pages] == [3, 3, 1, 0]
    assert pages[1].rows[1]["text"] == questions(17_000)[16_384]["text"]
    assert {page.total for page in pages} == {17_000}


@pytest.mark.parametrize("numbers", [[0.0, 1.0], [0.5, 1.0]])
def test_nan_is_missing_and_whole_numbers_stay_whole(desk: Desk, numbers: list[float]) -> None:
    labels = [float("nan") if n % 4 == 0 else numbers[n % 2] for n in range(12)]
    table = pa.table({"text": [f"review {n * 7919} of the hotel" for n in range(12)], "label": pa.array(labels)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    content = sink.getvalue().to_pybytes()
    with pytest.raises(types.ValueMissing, match="has no value for 'label'"):
        desk.import_("a.parquet", content)
    version = desk.import_("a.parquet", content, mapping={"missing": "drop"})
    assert list(version.statistics.labels) == ["0" if numbers[0] == 0 else "0.5", "1"]
    assert version.rows == 9


@pytest.mark.parametrize("empty", [None, "", "  "])
def test_an_empty_label_is_missing(desk: Desk, empty: str | None) -> None:
    rows = jsonl({"text": "a long walk", "label": empty}, {"text": "another kind of thing", "label": "x"})
    assert desk.import_("a.jsonl", rows, mapping={"missing": "drop"}).rows == 1


PIRATE = "You are a pirate."
TURNS = [{"from": "human", "value": "Where is the island?"}, {"from": "gpt", "value": "By the star."}]


@pytest.mark.parametrize("fields", [{}, {"messages": "conversations", "system": "system"}, {"system": "system"}])
def test_a_system_prompt_in_its_own_column_comes_first(desk: Desk, fields: dict[str, str]) -> None:
    rows = [{"system": PIRATE, "conversations": TURNS}, {"system": "", "conversations": TURNS[::-1]}]
    version = desk.import_("a.jsonl", jsonl(*rows), row_schema="chat", mapping={"fields": fields}, recipe={"steps": []})
    first, second = (row["messages"] for row in desk.rows(version))
    assert first[0] == {"role": "system", "content": PIRATE}
    assert [message["role"] for message in first] == ["system", "user", "assistant"]
    assert [message["role"] for message in second] == ["assistant", "user"]


def test_a_second_system_prompt_is_refused(desk: Desk) -> None:
    row = {"system": PIRATE, "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a"}]}
    with pytest.raises(types.MessagesInvalid, match="both in its messages and in the column"):
        desk.import_("a.jsonl", jsonl(row), mapping={"fields": {"messages": "messages", "system": "system"}})
    assert len(desk.rows(desk.import_("a.jsonl", jsonl(row)))[0]["messages"]) == 2


@pytest.mark.parametrize("part", ["user", "assistant"])
def test_a_mapping_that_nothing_reads_is_refused(desk: Desk, part: str) -> None:
    with pytest.raises(types.FieldUnknown, match="not read beside `messages`"):
        desk.import_(
            "a.jsonl",
            jsonl({"q": "a", "m": TURNS}),
            mapping={"fields": {"messages": "m", part: "q"}},
            row_schema="chat",
        )


def test_text_parts_are_one_text(desk: Desk) -> None:
    parts = [{"type": "text", "text": "Where is"}, {"type": "text", "text": "the island?"}]
    row = {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "There."}]}
    assert desk.rows(desk.import_("a.jsonl", jsonl(row)))[0]["messages"][0]["content"] == "Where is\nthe island?"
    row["messages"][0]["content"] = [*parts, {"type": "image_url", "image_url": {"url": "x"}}]
    with pytest.raises(types.MessagesInvalid, match="content is a list, not text"):
        desk.import_("a.jsonl", jsonl(row))


def test_a_python_literal_is_named_as_the_cause(desk: Desk) -> None:
    content = "messages\n" + "\"[{'role': 'user', 'content': 'Hi'}]\"\n"
    with pytest.raises(types.MessagesInvalid, match="Python literal"):
        desk.import_("a.csv", content)


def test_control_characters_that_part_words_do_not_glue_them(desk: Desk) -> None:
    rows = ["first line\u000bsecond line", "other\u001ctext", "bell\u0007s are no space"]
    version = desk.import_("a.jsonl", jsonl(*({"text": text} for text in rows)))
    assert [row["text"] for row in desk.rows(version)] == [
        "first line\nsecond line",
        "other text",
        "bells are no space",
    ]


@pytest.mark.parametrize(
    ("mapping", "label"),
    [({"labels": ["cafe\u0301", "tea "]}, "café"), ({"label_values": {"cafe\u0301 ": "coffee"}}, "coffee")],
)
def test_declared_labels_follow_the_rule_of_labels(desk: Desk, mapping: dict[str, Any], label: str) -> None:
    rows = [{"text": "one thing", "label": "cafe\u0301"}, {"text": "another thing entirely", "label": "tea"}]
    version = desk.import_("a.jsonl", jsonl(*rows), mapping={"fields": {"text": "text", "label": "label"}} | mapping)
    assert set(version.statistics.labels) == {label, "tea"}


def test_half_of_an_emoji_is_replaced_and_named(desk: Desk) -> None:
    lines = ['{"text": "one good thing", "label": "a"}', '{"text": "so happy \\ud83d", "label": "a \\ud83d"}']
    version = desk.import_("a.jsonl", "\n".join([*lines, '{"text": "the last thing", "label": "a"}']))
    rows = {row["text"]: row["label"] for row in desk.rows(version)}
    assert rows == {"one good thing": "a", "so happy \ufffd": "a \ufffd", "the last thing": "a"}
    report = next(step for step in version.steps if step.step == "reading")
    assert (report.changed, report.figures) == (1, {"replaced_characters": 1})
    assert [example.source for example in report.examples] == ["a.jsonl:2"]
