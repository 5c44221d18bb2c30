"""Reading the Parquet files of versions: whole splits, pages, and what differs between two versions."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tidemill.core.blobs import Blobs
from tidemill.core.errors import nearest
from tidemill.data.schemas import SCHEMAS
from tidemill.data.types import DatasetVersion, Diff, LabelShift, Preview, RowChange, SplitInfo, SplitNotFound

if TYPE_CHECKING:
    import pyarrow as pa


_EXAMPLES = 5
Row = dict[str, Any]


def find_split(version: DatasetVersion, split: str | None) -> SplitInfo:
    """Return one split of a version; without a name the first. Raises SplitNotFound."""
    for info in version.splits:
        if split is None or info.name == split:
            return info
    names = [info.name for info in version.splits]
    guess = nearest(split or "", names, 1)
    raise SplitNotFound(
        f"{version.ref} has no split {split!r}.",
        hint=(f"Did you mean {guess[0]!r}? " if guess else "") + f"Splits: {', '.join(names)}.",
        param="split",
    )


def read_split(blobs: Blobs, info: SplitInfo) -> "pa.Table":
    """Return all rows of one split as an Arrow table."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(str(blobs.path(info.hash)), memory_map=True) as file:
        return file.read()


def page(blobs: Blobs, info: SplitInfo, offset: int, limit: int) -> Preview:
    """Return some rows of one split; only the row groups that hold them are read."""
    import pyarrow.parquet as pq

    rows: list[Row] = []
    with pq.ParquetFile(str(blobs.path(info.hash)), memory_map=True) as file:
        begin = 0
        for number in range(file.num_row_groups):
            count = file.metadata.row_group(number).num_rows
            low, high = max(offset, begin), min(offset + limit, begin + count)
            if low < high:
                rows += file.read_row_group(number).slice(low - begin, high - low).to_pylist()
            begin += count
    return Preview(split=info.name, offset=offset, total=info.rows, rows=rows)


def compare(blobs: Blobs, before: DatasetVersion, after: DatasetVersion) -> Diff:
    """Return what changed. Rows are matched by their id, which is their content; then by their input."""
    old, new = _places(blobs, before), _places(blobs, after)
    missing, appeared = old.keys() - new.keys(), new.keys() - old.keys()
    removed, added = _by_input(blobs, before, missing), _by_input(blobs, after, appeared)
    changed = [(removed[key], added[key]) for key in removed if key in added]
    both = old.keys() & new.keys()
    moved = sum(old[row] != new[row] for row in both)
    shifts = _shifts(before, after)
    return Diff(
        before=before.ref,
        after=after.ref,
        added=len(appeared) - len(changed),
        removed=len(missing) - len(changed),
        changed=len(changed),
        moved=moved,
        unchanged=len(both) - moved,
        labels=shifts,
        label_distance=round(sum(abs(s.share_after - s.share_before) for s in shifts) / 2, 6),
        added_examples=[added[key] for key in added if key not in removed][:_EXAMPLES],
        removed_examples=[removed[key] for key in removed if key not in added][:_EXAMPLES],
        changed_examples=[RowChange(before=one, after=two) for one, two in changed[:_EXAMPLES]],
    )


def _places(blobs: Blobs, version: DatasetVersion) -> dict[str, str]:
    import pyarrow.parquet as pq

    places: dict[str, str] = {}
    for info in version.splits:
        with pq.ParquetFile(str(blobs.path(info.hash)), memory_map=True) as file:
            places.update(dict.fromkeys(file.read(columns=["id"])["id"].to_pylist(), info.name))
    return places


def _by_input(blobs: Blobs, version: DatasetVersion, ids: set[str]) -> dict[tuple[str, int], Row]:
    """Return the rows with these ids by their input and the number of earlier rows with the same input."""
    rows: dict[tuple[str, int], Row] = {}
    counts: Counter[str] = Counter()
    schema = SCHEMAS[version.row_schema]
    for row in _rows(blobs, version, ids) if ids else ():
        key = str([row[name] for name in schema.inputs]) if version.row_schema != "chat" else str(row["messages"][:-1])
        rows[key, counts[key]] = row
        counts[key] += 1
    return rows


def _rows(blobs: Blobs, version: DatasetVersion, row_ids: set[str]) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    ids = pa.array(sorted(row_ids))
    for info in version.splits:
        with pq.ParquetFile(str(blobs.path(info.hash)), memory_map=True) as file:
            for batch in file.iter_batches():
                yield from batch.filter(pc.is_in(batch["id"], value_set=ids)).to_pylist()


def _shifts(before: DatasetVersion, after: DatasetVersion) -> list[LabelShift]:
    old, new = before.statistics.labels, after.statistics.labels
    totals = [max(1, sum(sum(splits.values()) for splits in labels.values())) for labels in (old, new)]
    shifts = []
    for label in sorted(old.keys() | new.keys()):
        counts = [sum(labels.get(label, {}).values()) for labels in (old, new)]
        shifts.append(
            LabelShift(
                label=label,
                rows_before=counts[0],
                rows_after=counts[1],
                share_before=round(counts[0] / totals[0], 6),
                share_after=round(counts[1] / totals[1], 6),
            )
        )
    return shifts
