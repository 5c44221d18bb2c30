"""`client.data`: import, look, compare, export."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from tidemill.core.blobs.sdk import BlobStore
from tidemill.core.errors import of_body
from tidemill.core.http import Http
from tidemill.core.wire import Page
from tidemill.data import uploads
from tidemill.data.types import (
    CatalogueSet,
    Dataset,
    DatasetVersion,
    Diff,
    Import,
    ImportCreate,
    MapSpec,
    Preview,
    ReadSpec,
    Recipe,
    RowSchema,
    SourceRef,
    SplitSpec,
    VersionSummary,
)
from tidemill.jobs.sdk import Jobs
from tidemill.jobs.types import Job

ExportFormat = Literal["parquet", "jsonl", "csv"]
Paths = list[Path]  # the method `list` hides the type inside the class
_PAGE = 500


class Data:
    """Datasets: immutable versions of cleaned and divided rows, with a catalogue entry."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def submit(
        self,
        path: str | Path,
        *,
        name: str,
        row_schema: RowSchema | None = None,
        read: ReadSpec | dict[str, Any] | None = None,
        mapping: MapSpec | dict[str, Any] | None = None,
        recipe: Recipe | dict[str, Any] | None = None,
        split: SplitSpec | dict[str, Any] | None = None,
        catalogue: CatalogueSet | dict[str, Any] | None = None,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> Import:
        """Upload a file (or the files of a folder) and ask for a version; returns without waiting for it.

        `mapping` is `{"fields": {"text": "question", "label": "kind"}, ...}`, `split` is
        `{"ratios": {"train": 0.8, "test": 0.2}, ...}`. `progress(file, sent, total)` is called in bytes.
        Raises FileMissing, SourceUnreadable, FileEmpty, EncodingWrong or RecordTooLong before anything is sent.
        """
        reading = ReadSpec.model_validate(read or {})
        files = uploads.list_files(Path(path))
        for label, file in files:
            uploads.check_readable(label, file, reading)
        blobs = BlobStore(self._http)
        sources = []
        for label, file in files:
            report = None if progress is None else lambda done, total, label=label: progress(label, done, total)
            sources.append(SourceRef(name=label, hash=blobs.put(file, progress=report).hash))
        fields: dict[str, Any] = {
            "name": name,
            "sources": sources,
            "row_schema": row_schema,
            "read": reading,
            "mapping": MapSpec.model_validate(mapping or {}),
            "recipe": recipe,
            "split": split,
            "catalogue": catalogue or {},
        }
        return self._http.post("/api/datasets/imports", Import, ImportCreate.model_validate(fields))

    def import_(
        self, path: str | Path, *, name: str, watch: Callable[[Job], None] | None = None, **options: Any
    ) -> DatasetVersion:
        """Import and wait: `submit` with the same options, then the finished version.

        The same files with the same options give the version that exists already. Raises what is wrong with the data.
        """
        started = self.submit(path, name=name, **options)
        if started.version is not None:
            return started.version
        assert started.job is not None
        job = Jobs(self._http).wait(started.job.id, check=False, watch=watch)
        if job.error is not None:
            raise of_body(job.error)
        return self.finished(job)

    def finished(self, job: Job) -> DatasetVersion:
        """Return the version that an import made. Raises JobCancelledError or JobFailed when it made none."""
        done = Jobs(self._http).wait(job.id)
        result = done.result if isinstance(done.result, dict) else {}
        return self.version(str(result["version_id"]))

    def list(self, *, cursor: str | None = None, limit: int = 50) -> Page[Dataset]:
        """Return every dataset, by name."""
        return self._http.get("/api/datasets", Page[Dataset], {"cursor": cursor, "limit": limit})

    def get(self, name: str) -> Dataset:
        """Return one dataset with its catalogue entry. Raises DatasetNotFound."""
        return self._http.get(f"/api/datasets/{name}", Dataset)

    def set_catalogue(self, name: str, **fields: str | int | None) -> Dataset:
        """Change catalogue fields: description, owner, licence, purpose, retention_days. None clears one."""
        body = CatalogueSet.model_validate(fields)
        return self._http.patch(f"/api/datasets/{name}/catalogue", Dataset, body)

    def versions(self, name: str, *, cursor: str | None = None, limit: int = 50) -> Page[VersionSummary]:
        """Return the versions of one dataset, newest first."""
        params = {"cursor": cursor, "limit": limit}
        return self._http.get(f"/api/datasets/{name}/versions", Page[VersionSummary], params)

    def version(self, ref: str) -> DatasetVersion:
        """Return one version: `name` (newest), `name@3` or an id. Raises DatasetVersionNotFound."""
        return self._http.get(f"/api/dataset-versions/{ref}", DatasetVersion)

    def preview(self, ref: str, *, split: str | None = None, offset: int = 0, limit: int = 20) -> Preview:
        """Return a page of rows of one split (the first when none is named)."""
        params = {"split": split, "offset": offset, "limit": limit}
        return self._http.get(f"/api/dataset-versions/{ref}/rows", Preview, params)

    def rows(self, ref: str, *, split: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield all rows of one split, page by page."""
        offset = 0
        while True:
            page = self.preview(ref, split=split, offset=offset, limit=_PAGE)
            yield from page.rows
            offset += len(page.rows)
            if offset >= page.total or not page.rows:
                return

    def diff(self, before: str, after: str) -> Diff:
        """Return what changed from one version to another."""
        return self._http.get(f"/api/dataset-versions/{after}/diff", Diff, {"against": before})

    def export(self, ref: str, into: str | Path, *, kind: ExportFormat = "parquet") -> Paths:
        """Write one file per split into a folder: Parquet as stored, JSONL or CSV."""
        version = self.version(ref)
        folder = Path(into)
        folder.mkdir(parents=True, exist_ok=True)
        blobs = BlobStore(self._http)
        written = []
        for split in version.splits:
            target = folder / f"{version.dataset}-{version.version}-{split.name}.{kind}"
            with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as room:
                stored, converted = Path(room) / "split.parquet", Path(room) / "made"
                blobs.get(split.hash, stored)
                if kind != "parquet":
                    _convert(stored, converted, kind)
                (stored if kind == "parquet" else converted).replace(target)
            written.append(target)
        return written


def _convert(stored: Path, target: Path, kind: ExportFormat) -> None:
    import msgspec  # noqa: PLC0415 - heavy, and few commands export
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    with pq.ParquetFile(str(stored)) as file:
        if kind == "csv":
            nested = [field.name for field in file.schema_arrow if field.name == "messages"]
            table = file.read()
            for name in nested:
                texts = [msgspec.json.encode(row).decode() for row in table[name].to_pylist()]
                table = table.set_column(table.schema.get_field_index(name), name, [texts])
            csv.write_csv(table, str(target))
            return
        with target.open("wb") as out:
            for batch in file.iter_batches():
                out.writelines(msgspec.json.encode(row) + b"\n" for row in batch.to_pylist())
