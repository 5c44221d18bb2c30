"""Rows on disk between two steps, so that memory does not grow with the data."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tidemill.data.schemas import RowBatch, Schema, spool_extra

if TYPE_CHECKING:
    import pyarrow as pa


Mask = npt.NDArray[np.bool_]


class SpoolWriter:
    """Writes batches of rows to an Arrow file."""

    def __init__(self, path: Path, schema: Schema) -> None:
        import pyarrow as pa

        self.path = path
        self.schema = schema
        self.arrow = pa.schema([*schema.arrow, *spool_extra()])
        self._writer: Any = pa.ipc.new_file(str(path), self.arrow)
        self.starts = [0]

    def add(self, batch: RowBatch) -> None:
        """Append one batch to the file."""
        import pyarrow as pa

        if len(batch) == 0:
            return
        columns = {**batch.columns, "file": batch.files, "line": batch.lines}
        arrays = [pa.array(columns[field.name], type=field.type) for field in self.arrow]
        self._writer.write_batch(pa.record_batch(arrays, schema=self.arrow))
        self.starts.append(self.starts[-1] + len(batch))

    def finish(self) -> "Spool":
        """Close the file and open it for reading."""
        self._writer.close()
        return Spool(self.path, self.schema, self.starts)


class Spool:
    """Rows in an Arrow file that is mapped, not read: only the pages in use are in memory."""

    def __init__(self, path: Path, schema: Schema, starts: list[int]) -> None:
        import pyarrow as pa

        self.path = path
        self.schema = schema
        self.starts = np.array(starts)
        self._source = pa.memory_map(str(path))
        self._file = pa.ipc.open_file(self._source)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def batches(self, keep: Mask | None = None) -> Iterator[RowBatch]:
        """Yield the rows in order, or only those where `keep` is true."""
        for number in range(self._file.num_record_batches):
            batch = self._batch(self._file.get_batch(number))
            if keep is None:
                yield batch
                continue
            remaining = batch.keep(keep[self.starts[number] : self.starts[number + 1]].tolist())
            if len(remaining):
                yield remaining

    def row(self, place: int) -> RowBatch:
        """Return one row as a batch of one."""
        number = int(np.searchsorted(self.starts, place, side="right")) - 1
        return self._batch(self._file.get_batch(number).slice(place - int(self.starts[number]), 1))

    def column(self, name: str) -> "Iterator[pa.Array]":
        """Yield one column, batch by batch."""
        for number in range(self._file.num_record_batches):
            yield self._file.get_batch(number).column(name)

    def _batch(self, batch: "pa.RecordBatch") -> RowBatch:
        columns = {name: batch.column(name).to_pylist() for name in (*self.schema.fields, "cluster", "time")}
        return RowBatch(columns, batch.column("file").to_pylist(), batch.column("line").to_pylist())

    def close(self) -> None:
        """Unmap and remove the file."""
        self._source.close()
        self.path.unlink(missing_ok=True)
