"""Which local files an import sends, and a first look at them before anything is sent."""

from collections.abc import Iterator
from pathlib import Path

from tidemill.data.lines import line_blocks, open_source
from tidemill.data.types import FileEmpty, FileMissing, FormatUnknown, ReadSpec

SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".pq", ".txt")


def list_files(path: Path) -> list[tuple[str, Path]]:
    """Return the files to import with the names they go by: one file, or those in a folder whose suffix is known.

    Raises FileMissing when there is none, FormatUnknown for a folder without any that could be read.
    """
    if not path.exists():
        raise FileMissing(f"There is no file {path}.", hint="Check the path.", param="path")
    if not path.is_dir():
        return [(path.name, path)]
    files = sorted(_readable(path))
    if not files:
        raise FormatUnknown(
            f"The folder {path} holds no file to import.",
            hint=f"Files are taken by their suffix: {', '.join(SUFFIXES)}, each also with .gz.",
            param="path",
        )
    return files


def _readable(folder: Path) -> Iterator[tuple[str, Path]]:
    for file in folder.rglob("*"):
        name = file.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") for part in name.split("/"))
        if file.is_file() and not hidden and name.lower().removesuffix(".gz").endswith(SUFFIXES):
            yield name, file


def check_readable(name: str, path: Path, read: ReadSpec) -> None:
    """Raise what is wrong with a file before it is uploaded: unreadable, empty, or not text where text is expected.

    Raises FileMissing, SourceUnreadable, FileEmpty, EncodingWrong, RecordTooLong. The rest is checked by the import.
    """
    with open_source(path, name) as file:
        if not file.read(1):
            raise FileEmpty(f"{name} is empty.", hint="Is it the right file?", param="path")
    with open_source(path, name) as file:
        if file.read(4) == b"PAR1" or read.format == "parquet" or name.lower().endswith((".parquet", ".pq")):
            return
    with open_source(path, name) as file:
        next(line_blocks(file, name, read.encoding), None)
