"""What takes space and why, what may go, and its removal: the record first, the file after it."""

import heapq
import logging
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from tidemill.core import events, removals
from tidemill.core.actors import SYSTEM, Actor
from tidemill.core.blobs import BlobCollected, BlobMissing, S3Blobs
from tidemill.core.errors import Unavailable
from tidemill.core.kernel import Context, Kernel
from tidemill.core.removals import Removal
from tidemill.core.wire import Page, utc_now
from tidemill.jobs.service import JobQueue
from tidemill.registry.types import ModelVersion
from tidemill.storage.caches import OLD_ANSWERS, delete_old_answers, list_caches
from tidemill.storage.home import list_home, owner_of
from tidemill.storage.survey import StorageUsage, list_blobs, read_usage
from tidemill.storage.types import CleanPlan, StorageClean, StorageItem, StorageKind, StorageReport
from tidemill.tuning import service as tuning
from tidemill.tuning.types import TuningRun

log = logging.getLogger("tidemill.storage")

CLEAN_JOB = "storage.clean"

DEFAULT_DAYS = 30
"""Age of what a cleaning removes where the setting says that nothing goes by itself."""

SHOWN_ITEMS = 200

PAUSE_S = 0.02
"""Between two removals, so that a cleaning leaves the disk and the database to others."""

PATIENCE_S = 5.0
"""How long a request waits for another one that looks at the storage."""

_SURVEY = threading.Lock()

JOB_FOLDERS = ("work/", "tuning/")


def default_days(kernel: Kernel) -> int:
    """Return the age in days from which what nothing needs may go."""
    return kernel.settings.storage_keep_days or DEFAULT_DAYS


def list_all(kernel: Kernel, usage: StorageUsage) -> Iterator[StorageItem]:
    """Yield every blob, and everything else in the home."""
    yield from list_blobs(kernel, usage)
    yield from list_home(kernel, usage)
    yield from list_caches(kernel, usage)


@contextmanager
def _one_survey() -> Iterator[None]:
    """Let one request at a time look at everything: it reads the whole home, and threads that wait answer nobody."""
    if not _SURVEY.acquire(timeout=PATIENCE_S):
        raise Unavailable("The storage is being looked at for somebody else.", hint="Try again in a moment.")
    try:
        yield
    finally:
        _SURVEY.release()


def get_report(kernel: Kernel) -> StorageReport:
    """Return what takes space, by kind. Reads the home, the blob store and every table that names blobs."""
    days = default_days(kernel)
    groups: dict[str, list[StorageItem]] = defaultdict(list)
    with _one_survey():
        for item in list_all(kernel, read_usage(kernel, days)):
            groups[item.kind].append(item)
    kinds = [_sum_up(kind, items) for kind, items in groups.items()]
    with kernel.db.read() as conn:
        removed_files, removed_bytes = removals.sum_removed(conn)
    return StorageReport(
        home=str(kernel.settings.home),
        blobs=kernel.blobs.where if isinstance(kernel.blobs, S3Blobs) else str(kernel.settings.home / "blobs"),
        keep_days=days,
        automatic=kernel.settings.storage_keep_days > 0,
        bytes=sum(kind.bytes for kind in kinds),
        removable_bytes=sum(kind.removable_bytes for kind in kinds),
        kinds=sorted(kinds, key=lambda kind: (-kind.bytes, kind.kind)),
        removed_files=removed_files,
        removed_bytes=removed_bytes,
    )


def _sum_up(kind: str, items: list[StorageItem]) -> StorageKind:
    removable = [item for item in items if item.state == "removable"]
    return StorageKind(
        kind=kind,
        files=len(items),
        bytes=sum(item.size for item in items),
        removable_files=len(removable),
        removable_bytes=sum(item.size for item in removable),
        why=max(items, key=lambda item: item.size).why,
    )


def list_items(
    kernel: Kernel, *, kind: str | None = None, state: str | None = None, skip: int = 0, limit: int = 50
) -> Page[StorageItem]:
    """Return a page of items, the largest first; those of one kind or state."""
    with _one_survey():
        usage = read_usage(kernel, default_days(kernel))
        chosen = (i for i in list_all(kernel, usage) if kind in (None, i.kind) and state in (None, i.state))
        largest = heapq.nsmallest(skip + limit + 1, chosen, key=lambda item: (-item.size, item.name))
    more = len(largest) > skip + limit
    return Page(items=largest[skip : skip + limit], next_cursor=str(skip + limit) if more else None)


def plan_clean(kernel: Kernel, body: StorageClean) -> CleanPlan:
    """Return what a cleaning removes. Removes nothing."""
    days = body.keep_days or default_days(kernel)
    items = list_removable(kernel, days)
    return CleanPlan(
        keep_days=days,
        files=len(items),
        bytes=sum(item.size for item in items),
        items=heapq.nsmallest(SHOWN_ITEMS, items, key=lambda item: (-item.size, item.name)),
        job_id=None,
    )


def list_removable(kernel: Kernel, keep_days: int) -> list[StorageItem]:
    """Return what may go now: what nothing needs, and F16 files of old tuning runs."""
    with _one_survey():
        usage = read_usage(kernel, keep_days)
        items = [item for item in list_all(kernel, usage) if item.state == "removable"]
    return items + [_describe_f16(run, version) for run, version in _list_f16(kernel, usage)]


def _list_f16(kernel: Kernel, usage: StorageUsage) -> list[tuple[TuningRun, ModelVersion]]:
    with kernel.read(SYSTEM) as ctx:
        return tuning.list_unneeded_f16(ctx, usage.removable_before)


def _describe_f16(run: TuningRun, version: ModelVersion) -> StorageItem:
    return StorageItem(
        name=version.files[0].hash,
        kind="F16 files of tuning runs",
        size=version.size,
        at=version.created_at,
        needed_by=[version.ref],
        state="removable",
        why=f"{version.ref} is F16, and {run.id}, which was not asked to keep it, has passed its proof",
    )


def submit_clean(ctx: Context, body: StorageClean, plan: CleanPlan) -> CleanPlan:
    """Ask for the job that removes what the plan says, as far as nothing needs it by then."""
    job = ctx.kernel.get(JobQueue).submit(ctx, CLEAN_JOB, {"keep_days": plan.keep_days})
    figures = {"keep_days": plan.keep_days, "files": plan.files, "bytes": plan.bytes}
    events.emit(ctx, "storage.clean_requested", job.id, figures)
    return plan.model_copy(update={"job_id": job.id})


def clean_f16(kernel: Kernel, actor: Actor, keep_days: int) -> int:
    """Let the F16 files of old tuning runs go, and return how many. Their blobs go with the rest."""
    count = 0
    for run, _version in _list_f16(kernel, read_usage(kernel, keep_days)):
        with kernel.write(actor) as ctx:
            count += tuning.remove_f16(ctx, run.id) > 0
    return count


def clean(
    kernel: Kernel, actor: Actor, keep_days: int, check: Callable[[int, int], None], *, limit: int | None = None
) -> tuple[int, int]:
    """Remove what may go, at most `limit` of it, and return how many files and bytes went.

    `check(done, total)` is called before each removal and may raise to end it there.
    """
    files, size = finish_scheduled(kernel)
    usage = read_usage(kernel, keep_days)
    items = [item for item in list_all(kernel, usage) if item.state == "removable"][:limit]
    for number, item in enumerate(items):
        check(number, len(items))
        if remove(kernel, actor, item, usage):
            files, size = files + 1, size + item.size
        time.sleep(PAUSE_S)
    if files:
        with kernel.write(actor) as ctx:
            events.emit(ctx, "storage.cleaned", "storage", {"files": files, "bytes": size, "keep_days": keep_days})
    return files, size


def remove(kernel: Kernel, actor: Actor, item: StorageItem, usage: StorageUsage) -> bool:
    """Record the removal of one item, then remove it. Return False for one that is needed by now."""
    in_jobs = item.name.startswith(JOB_FOLDERS)
    owner = owner_of(item.name) if in_jobs else None
    removal = Removal(
        name=item.name,
        kind=item.kind,
        size=item.size,
        owner=owner,
        reason=item.why,
        by=actor.name,
        scheduled_at=utc_now(),
        put_before=usage.removable_before if item.name.startswith("sha256:") else usage.old_before,
    )
    with kernel.write(actor) as ctx:
        if owner is not None and not kernel.get(JobQueue).lock_ended(ctx, owner, usage.old_before):
            return False
        removals.schedule(ctx.conn, removal)
    return finish(kernel, removal)


def finish(kernel: Kernel, removal: Removal) -> bool:
    """Remove what is recorded to go, unless it was put, claimed or written since."""
    if removal.name.startswith("sha256:"):
        gone = kernel.blobs.collect(removal.name, removal.put_before.timestamp()) or not kernel.blobs.exists(
            removal.name
        )
    elif removal.name == OLD_ANSWERS:
        delete_old_answers(kernel, removal.put_before)
        gone = True
    else:
        gone = _remove_path(kernel, removal.name)
    with kernel.db.begin() as conn:
        if gone:
            removals.finish(conn, removal.name, utc_now())
        else:
            removals.cancel(conn, removal.name)
    return gone


def _remove_path(kernel: Kernel, name: str) -> bool:
    path = kernel.settings.home / name
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:  # of another user, or written to in this moment: the next look finds it again
        log.warning("%s cannot be removed now: %s", path, error)
    return not path.exists()


def finish_scheduled(kernel: Kernel, limit: int = 500) -> tuple[int, int]:
    """Remove what was recorded to go and is still there, and return how many files and bytes went.

    It was recorded by a server that died before the removal, or by who made a file that it needs no more. A blob waits
    for the jobs that run now: one of them may have put it too and not referred to it yet.
    """
    with kernel.db.read() as conn:
        scheduled = removals.list_scheduled(conn, limit)
    if not scheduled:
        return 0, 0
    usage = read_usage(kernel, keep_days=0)
    running = [job.created_at for job in usage.live_jobs if not job.ended]
    files = size = 0
    for removal in scheduled:
        put_before = min([removal.put_before, *running])
        if removal.name in usage.blobs:
            with kernel.db.begin() as conn:
                removals.cancel(conn, removal.name)
        elif _must_wait(kernel, removal, put_before):
            continue
        elif finish(kernel, removal.model_copy(update={"put_before": put_before})):
            files, size = files + 1, size + removal.size
    return files, size


def _must_wait(kernel: Kernel, removal: Removal, put_before: datetime) -> bool:
    """Return whether a running job may have put the blob, though nobody has put it since its removal was recorded."""
    if not removal.name.startswith("sha256:"):
        return False
    blob = kernel.blobs.stat(removal.name)
    return blob is not None and put_before.timestamp() <= blob.put_at < removal.put_before.timestamp()


def list_removed(ctx: Context, *, skip: int = 0, limit: int = 50) -> Page[Removal]:
    """Return what was removed, the latest first."""
    rows = removals.list_removed(ctx.conn, skip=skip, limit=limit + 1)
    return Page(items=rows[:limit], next_cursor=str(skip + limit) if len(rows) > limit else None)


def explain_missing(kernel: Kernel, digest: str) -> BlobMissing | None:
    """Return the error for a blob that was removed, which says when and why; None for one that never was."""
    with kernel.db.read() as conn:
        removal = removals.get(conn, digest)
    if removal is None:
        return None
    at = (removal.removed_at or removal.scheduled_at).astimezone(UTC)
    return BlobCollected(
        f"The blob {digest} ({removal.kind}) was removed on {at:%Y-%m-%d} to free space: {removal.reason}.",
        hint="Upload the content again, or make again what it belonged to.",
    )
