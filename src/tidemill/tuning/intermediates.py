"""The F16 file that every smaller file is made from: needed until the proof has passed, then only if asked for."""

from collections.abc import Iterator
from datetime import datetime

from tidemill.core import removals
from tidemill.core.kernel import Context
from tidemill.core.removals import Removal
from tidemill.registry import service as registry
from tidemill.registry.types import ModelInUse, ModelVersion
from tidemill.tuning import store
from tidemill.tuning.types import TuningRun

F16 = "gguf:f16"
KIND = "F16 files of tuning runs"


def is_wanted(run: TuningRun) -> bool:
    """Return whether the run was asked to keep its F16 file."""
    return run.spec.keep_f16 or F16 in run.spec.then


def find_f16(ctx: Context, run: TuningRun) -> ModelVersion | None:
    """Return the version with the run's F16 file, whether the file is there or not; None before it was made."""
    version_id = next((output.version_id for output in run.outputs if output.kind == F16), None)
    return registry.get_version(ctx, version_id) if version_id is not None else None


def remove_f16(ctx: Context, run: TuningRun) -> int:
    """Let the run's F16 file go, unless it was asked for, may be served, or something needs it. Return its bytes.

    The version stays, as the parent of the smaller files.
    """
    store.lock(ctx.conn, f"tuning run {run.id}")
    version = find_f16(ctx, run)
    if version is None or version.servable or version.files_removed_at is not None or is_wanted(run):
        return 0
    why = "it is not kept after the parity proof"
    again = f"{why}; make it again with: tidemill tune compress {version.ref} --to {F16}"
    try:
        files = registry.remove_files(ctx, version.id, again)
    except ModelInUse:
        return 0
    for file in files:
        removal = Removal(
            name=file.hash,
            kind=KIND,
            size=file.size,
            reason=f"{version.ref} is F16: {why}",
            by=ctx.actor.name,
            scheduled_at=ctx.now,
            put_before=ctx.now,
        )
        removals.schedule(ctx.conn, removal)
    return sum(file.size for file in files)


def list_f16(ctx: Context, ended_before: datetime) -> Iterator[tuple[TuningRun, ModelVersion]]:
    """Yield the runs that ended before a moment and whose F16 file `remove_f16` would let go."""
    cursor: str | None = None
    while runs := store.list_runs(ctx.conn, state="succeeded", before=cursor, limit=200):
        for run in runs:
            if run.finished_at is not None and run.finished_at < ended_before and not is_wanted(run):
                version = find_f16(ctx, run)
                if version is not None and not version.servable and version.files_removed_at is None:
                    yield run, version
        cursor = runs[-1].id
