"""Every bad input is a clear error with a stable code, and nothing is half-written."""

import gzip
import os
import resource
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.conftest import Desk, jsonl
from tidemill.core.errors import TidemillError
from tidemill.data import types

pytestmark = pytest.mark.usefixtures("untouched")


def import_raises(
    desk: Desk, kind: type[TidemillError], name: str, content: str | bytes, **options: object
) -> TidemillError:
    with pytest.raises(kind) as caught:
        desk.import_(name, content, **options)
    assert type(caught.value) is kind
    assert caught.value.hint
    return caught.value


def test_a_missing_file(desk: Desk) -> None:
    with pytest.raises(types.FileMissing, match=r"There is no file .*nowhere\.csv"):
        desk.data.import_(desk.folder / "nowhere.csv", name="set")


@pytest.mark.skipif(
    os.geteuid() == 0 and not Path("/proc/self/mem").exists(), reason="needs a file that cannot be read"
)
def test_an_unreadable_file(desk: Desk) -> None:
    # Root may read any file, so take one that cannot be read for another reason: the memory of this process at 0.
    path = Path("/proc/self/mem") if os.geteuid() == 0 else desk.file("locked.csv", "a,b\n1,2\n")
    if os.geteuid() != 0:
        path.chmod(0)
    with pytest.raises(types.SourceUnreadable, match="cannot be read"):
        desk.data.import_(path, name="set")


def test_a_folder_without_data(desk: Desk) -> None:
    desk.file("folder/picture.png", b"\x89PNG")
    with pytest.raises(types.FormatUnknown, match="holds no file"):
        desk.data.import_(desk.folder / "folder", name="set")


def test_an_empty_file(desk: Desk) -> None:
    import_raises(desk, types.FileEmpty, "empty.csv", b"")


@pytest.mark.parametrize(("name", "content"), [("a.csv", "text,label\n"), ("a.jsonl", "\n\n"), ("a.txt", "\n")])
def test_a_file_without_rows(desk: Desk, name: str, content: str) -> None:
    assert "no rows" in import_raises(desk, types.FileEmpty, name, content).message


def test_a_wrong_encoding_names_byte_line_and_encodings_to_try(desk: Desk) -> None:
    content = "text,label\nplain,a\ncafé,b\n".encode("latin-1")
    error = import_raises(desk, types.EncodingWrong, "a.csv", content)
    assert error.details is not None
    assert (error.details["offset"], error.details["line"]) == (22, 3)
    assert "byte 0xe9 at offset 22 (line 3)" in error.message
    assert "--encoding cp1252` reads it as 'café,b'" in (error.hint or "")


@pytest.mark.slow
def test_a_wrong_encoding_far_into_the_file(desk: Desk) -> None:
    good = b"text,label\n" + b"some text,a\n" * 300_000
    error = import_raises(desk, types.EncodingWrong, "a.csv", good + "naïve,b\n".encode("latin-1"))
    assert error.details == {"offset": len(good) + 2, "line": 300_002, "encodings": error.details["encodings"]}


def test_utf_16_without_being_told(desk: Desk) -> None:
    error = import_raises(desk, types.EncodingWrong, "a.csv", "text,label\nhi,a\n".encode("utf-16"))
    assert "--encoding utf-16" in (error.hint or "")


def test_an_unknown_encoding(desk: Desk) -> None:
    import_raises(desk, types.FileEncodingUnknown, "a.csv", "text,label\nhi,a\n", read={"encoding": "utf-99"})


@pytest.mark.parametrize(("row", "columns"), [("one,two,three", 3), ("one", 1)])
def test_a_ragged_csv_names_line_and_columns(desk: Desk, row: str, columns: int) -> None:
    error = import_raises(desk, types.CsvRagged, "a.csv", f'text,label\n"two\nlines",a\n{row}\n')
    assert error.details == {"line": 4, "expected": 2, "found": columns}


def test_an_open_quote(desk: Desk) -> None:
    import_raises(desk, types.RecordMalformed, "a.csv", 'text,label\n"never closed,a\nmore,b\n')


def test_a_duplicate_header(desk: Desk) -> None:
    error = import_raises(desk, types.HeaderDuplicate, "a.csv", "text,label,text\na,b,c\n")
    assert "'text' twice (again at place 3)" in error.message


def test_json_that_is_not_an_object(desk: Desk) -> None:
    error = import_raises(desk, types.RecordNotObject, "a.jsonl", '{"text": "a"}\n[1, 2]\n')
    assert "Line 2 of a.jsonl is a JSON array" in error.message


@pytest.mark.parametrize("line", ["{oops", '{"text": NaN}', "[" * 5000])
def test_json_that_is_not_json(desk: Desk, line: str) -> None:
    assert "Line 2" in import_raises(desk, types.RecordMalformed, "a.jsonl", '{"text": "a"}\n' + line + "\n").message


def test_an_unknown_column_suggests_the_nearest(desk: Desk) -> None:
    options = {"row_schema": "classification", "mapping": {"fields": {"text": "questoin", "label": "kind"}}}
    error = import_raises(desk, types.ColumnUnknown, "a.csv", "question,kind\nWho?,HUM\n", **options)
    assert "`--map text=question`" in (error.hint or "")


def test_an_unknown_column_in_the_second_file(desk: Desk) -> None:
    desk.file("folder/a.csv", "text,label\na,x\n")
    desk.file("folder/b.csv", "text,tag\nb,y\n")
    with pytest.raises(types.ColumnUnknown, match=r"b\.csv has no column 'label'"):
        desk.data.import_(desk.folder / "folder", name="set")


def test_an_unknown_field(desk: Desk) -> None:
    options = {"row_schema": "classification", "mapping": {"fields": {"lable": "kind"}}}
    error = import_raises(desk, types.FieldUnknown, "a.csv", "question,kind\nWho?,HUM\n", **options)
    assert "Did you mean 'label'?" in (error.hint or "")


def test_columns_that_do_not_tell_what_they_are_come_with_a_proposal(desk: Desk) -> None:
    rows = "".join(f"what is the meaning of number {n},{'ab'[n % 2]}\n" for n in range(20))
    error = import_raises(desk, types.MappingUnclear, "a.csv", "x,y\n" + rows)
    assert "--schema classification --map text=x --map label=y" in (error.hint or "")


def test_an_unknown_format(desk: Desk) -> None:
    import_raises(desk, types.FormatUnknown, "a.dat", "just words\n")


def test_a_label_outside_the_declared_set(desk: Desk) -> None:
    error = import_raises(
        desk, types.LabelUnknown, "a.csv", "text,label\na,yes\nb,yess\n", mapping={"labels": ["yes", "no"]}
    )
    assert error.details == {"line": 3, "label": "yess"}
    assert "Did you mean 'yes'?" in (error.hint or "")


def test_mixed_types(desk: Desk) -> None:
    error = import_raises(
        desk, types.TypesMixed, "a.jsonl", jsonl({"text": "a", "label": "x"}, {"text": "b", "label": 1})
    )
    assert "Line 2 of a.jsonl has a number, Line 1 of a.jsonl has text" in error.message


def test_a_number_where_text_belongs(desk: Desk) -> None:
    import_raises(desk, types.TypeWrong, "a.jsonl", jsonl({"text": 1, "label": "x"}))


def test_a_row_without_a_value(desk: Desk) -> None:
    error = import_raises(desk, types.ValueMissing, "a.jsonl", jsonl({"text": "a", "label": "x"}, {"text": "b"}))
    assert "--missing drop" in (error.hint or "")


def test_messages_of_a_wrong_form(desk: Desk) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    for messages in ("hello", [{"role": "nobody", "content": "a"}], [{"role": "user", "content": 1}], [call]):
        import_raises(desk, types.MessagesInvalid, "a.jsonl", jsonl({"messages": messages}))


def test_a_line_that_does_not_fit_the_pattern(desk: Desk) -> None:
    error = import_raises(
        desk, types.LineUnmatched, "a.txt", "A:one\ntwo\n", read={"pattern": "(?P<label>[A-Z]):(?P<text>.+)"}
    )
    assert error.details == {"line": 2}


@pytest.mark.parametrize("pattern", ["(", "[A-Z]+", "(?P<a>.)(?=b)"])
def test_a_pattern_that_is_none(desk: Desk, pattern: str) -> None:
    import_raises(desk, types.PatternInvalid, "a.txt", "A:one\n", read={"pattern": pattern})


def test_a_broken_parquet_file(desk: Desk) -> None:
    complete = desk.folder / "whole.parquet"
    complete.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": ["a"] * 1000, "label": ["b"] * 1000}), complete)
    import_raises(desk, types.SourceUnreadable, "cut.parquet", complete.read_bytes()[:-20])


def test_a_cut_off_gzip_file(desk: Desk) -> None:
    packed = gzip.compress(jsonl(*({"text": f"row {n}"} for n in range(1000))).encode())
    import_raises(desk, types.SourceUnreadable, "a.jsonl.gz", packed[: len(packed) // 2])


def test_a_split_that_would_leave_a_class_empty(desk: Desk) -> None:
    rows = "".join(f"text {n} {'x' * n},{'common' if n else 'rare'}\n" for n in range(20))
    error = import_raises(
        desk, types.SplitClassEmpty, "a.csv", "text,label\n" + rows, split={"ratios": {"a": 0.5, "b": 0.5}}
    )
    assert "no row of the class 'rare' (1 row of it in all)" in error.message


def test_a_split_without_rows(desk: Desk) -> None:
    import_raises(desk, types.SplitEmpty, "a.txt", "only one line\n", split={"ratios": {"train": 0.5, "test": 0.5}})


def test_a_split_by_time_without_time(desk: Desk) -> None:
    split = {"ratios": {"train": 0.5, "test": 0.5}, "by": "time"}
    import_raises(desk, types.SplitInvalid, "a.txt", "one line\nanother one\n", split=split)


def test_a_time_that_is_none(desk: Desk) -> None:
    mapping = {"fields": {"text": "text", "time": "when"}}
    import_raises(desk, types.TimeUnreadable, "a.csv", "text,when\na,yesterday\n", mapping=mapping)


def test_a_recipe_that_leaves_nothing(desk: Desk) -> None:
    recipe = {"steps": [{"step": "length", "min_chars": 100}]}
    assert (
        "length dropped 2" in import_raises(desk, types.NothingLeft, "a.txt", "short\nlines\n", recipe=recipe).message
    )


def test_an_unknown_language(desk: Desk) -> None:
    import_raises(
        desk, types.RecipeInvalid, "a.txt", "short\n", recipe={"steps": [{"step": "language", "keep": ["xx-yy"]}]}
    )


def test_a_source_that_was_not_uploaded(desk: Desk) -> None:
    body = types.ImportCreate(name="set", sources=[types.SourceRef(name="a.csv", hash="sha256:" + "0" * 64)])
    with pytest.raises(types.SourceMissing, match="has not been uploaded"):
        desk.data._http.post("/api/datasets/imports", types.Import, body)


def test_a_line_of_one_gibibyte_is_refused_before_it_is_sent(desk: Desk) -> None:
    path = desk.file("long.jsonl", b'{"text": "')
    os.truncate(path, 1 << 30)  # sparse: takes no room on the disk
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(types.RecordTooLong, match="longer than 16 MiB"):
        desk.data.import_(path, name="set")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # KiB
    assert not (desk.kernel.settings.home / "blobs").exists() or not list(desk.kernel.settings.home.glob("blobs/??/*"))


@pytest.mark.parametrize("start", ['{"text": "a"}\n{"text": "', 'text,label\n"', "text,label\n"])
def test_a_line_of_one_gibibyte_later_in_the_file_needs_little_memory(tmp_path: Path, start: str) -> None:
    path = tmp_path / ("long.jsonl" if start.startswith("{") else "long.csv")
    path.write_text(start)
    os.truncate(path, 1 << 30)
    code = (
        "import sys, resource, pathlib\n"
        "from tidemill.data.formats import read_chunks\n"
        "from tidemill.data.types import ReadSpec, RecordTooLong\n"
        "base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "try:\n"
        "    list(read_chunks(path, path.name, path.suffix[1:], ReadSpec()))\n"
        "except RecordTooLong as error:\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base)\n"
    )
    out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout
    assert int(out) < 150 << 10  # KiB
