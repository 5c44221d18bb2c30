"""The job that makes a dataset version."""

import tempfile
import time
from pathlib import Path
from typing import Any

from tidemill.data import service
from tidemill.data.builder import Builder
from tidemill.data.types import BuildResult, CatalogueSet, ImportPlan, SourceInfo, SplitInfo
from tidemill.jobs.context import JobContext
from tidemill.jobs.service import JobQueue

_CHECK_SECONDS = 0.5


def run_import(job: JobContext, args: dict[str, Any]) -> dict[str, Any]:
    """Build the files of a version, then record it."""
    plan = ImportPlan.model_validate_json(args["plan"])
    version_id = job.step("version id", lambda: _subject(job))
    result = BuildResult.model_validate(job.step("build", _build, job, plan, version_id))
    catalogue = CatalogueSet.model_validate(args["catalogue"])
    return dict(job.step("record", _record, job, args["name"], plan, result, catalogue))


def _subject(job: JobContext) -> str:
    with job.write() as ctx:
        return str(job.kernel.get(JobQueue).get(ctx, job.id).subject)


def _build(job: JobContext, plan: ImportPlan, version_id: str) -> dict[str, Any]:
    blobs = job.kernel.blobs
    paths = [blobs.path(source.hash) for source in plan.sources]
    last_check = time.monotonic()

    def progress(stage: str, rows: int) -> None:
        nonlocal last_check
        if time.monotonic() - last_check >= _CHECK_SECONDS:
            last_check = time.monotonic()
            job.check_cancelled()
            job.progress(message=stage, rows=rows)

    # A folder of its own per run: what an interrupted run left is never taken for finished.
    with tempfile.TemporaryDirectory(prefix="build-", dir=job.kernel.folder("work", job.id)) as folder:
        built = Builder(plan, paths, Path(folder), progress).build()
        stored = {split: blobs.put_file(path) for split, path in built.files.items()}
    sizes = [path.stat().st_size for path in paths]
    result = BuildResult(
        version_id=version_id,
        content_hash=built.content_hash,
        sources=[
            SourceInfo(name=source.name, hash=source.hash, bytes=size, rows=rows)
            for source, size, rows in zip(plan.sources, sizes, built.source_rows, strict=True)
        ],
        splits=[
            SplitInfo(name=split, rows=built.rows[split], hash=blob.hash, bytes=blob.size)
            for split, blob in stored.items()
        ],
        steps=built.steps,
        leaks=built.leaks,
        statistics=built.statistics,
    )
    return result.model_dump(mode="json")


def _record(
    job: JobContext, name: str, plan: ImportPlan, result: BuildResult, catalogue: CatalogueSet
) -> dict[str, Any]:
    with job.write() as ctx:
        version = service.record(ctx, name, plan, result, catalogue, job.id)
    return {"version_id": version.id, "ref": version.ref, "content_hash": version.content_hash}
