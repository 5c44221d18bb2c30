"""What lies in the blob store and in the home, and whether anything needs it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from tidemill.core import lineage
from tidemill.core.actors import SYSTEM
from tidemill.core.blobs import StoredBlob
from tidemill.core.kernel import Context, Kernel
from tidemill.core.wire import utc_now
from tidemill.jobs.service import JobQueue
from tidemill.jobs.types import LiveJob
from tidemill.registry import service as registry
from tidemill.storage import store
from tidemill.storage.types import StorageItem

UNREFERRED = "blobs that nothing refers to"
SHOWN_USERS = 5


class StorageUsage(NamedTuple):
    """What needs files now, read from the database at one moment."""

    blobs: Mapping[str, list[store.Reference]]
    labels: Mapping[str, str]
    live_jobs: list[LiveJob]
    """Jobs that have not ended, or that ended so lately without success that they may be retried."""
    versions: set[str]
    """Ids of the model versions that have their files."""
    old_before: datetime
    """What is younger stays, whatever refers to it."""
    removable_before: datetime
    """`old_before`, or the start of the oldest live job, which may refer to what it has put since."""


def read_usage(kernel: Kernel, keep_days: int) -> StorageUsage:
    """Return what needs files. Blobs put before must be looked at after this: new references are to new puts."""
    old_before = utc_now() - timedelta(days=keep_days)
    with kernel.read(SYSTEM) as ctx:
        live_jobs = kernel.get(JobQueue).list_live(ctx, old_before)
        blobs = _read_references(ctx, live_jobs)
        labels = lineage.labels(ctx.conn, _shown_rows(blobs))
        versions = registry.list_ids_with_files(ctx)
    oldest = min((job.created_at for job in live_jobs), default=old_before)
    return StorageUsage(blobs, labels, live_jobs, versions, old_before, min(old_before, oldest))


def _read_references(ctx: Context, live_jobs: list[LiveJob]) -> dict[str, list[store.Reference]]:
    blobs: dict[str, list[store.Reference]] = defaultdict(list)
    for reference in store.list_references(ctx.conn):
        blobs[reference.hash].append(reference)
    for job in live_jobs:
        for digest in store.find_hashes(job.args):
            blobs[digest].append(store.Reference(digest, "files of jobs", job.id))
    return dict(blobs)


def _shown_rows(blobs: Mapping[str, list[store.Reference]]) -> set[str]:
    return {reference.row_id for references in blobs.values() for reference in references[:SHOWN_USERS]}


def list_blobs(kernel: Kernel, usage: StorageUsage) -> Iterator[StorageItem]:
    """Yield every blob with what refers to it."""
    for blob in kernel.blobs.list():
        yield describe_blob(blob, usage)


def describe_blob(blob: StoredBlob, usage: StorageUsage) -> StorageItem:
    """Return what a blob is kept for, or that it may go."""
    references = usage.blobs.get(blob.hash, [])
    at = datetime.fromtimestamp(blob.put_at, UTC)
    users = list(dict.fromkeys(usage.labels.get(r.row_id, r.row_id) for r in references[:SHOWN_USERS]))
    if references:
        state, why = (
            "needed",
            f"{', '.join(users)} refers to it" if len(users) == 1 else f"{', '.join(users)} refer to it",
        )
    elif at >= usage.old_before:
        state, why = "young", f"nothing refers to it, and it was put on {at:%Y-%m-%d}"
    elif at >= usage.removable_before:
        job = usage.live_jobs[0]
        state, why = "young", f"nothing refers to it yet, and {job.kind} {job.id} is older and may still do so"
    else:
        state, why = "removable", f"nothing refers to it since at least {usage.old_before:%Y-%m-%d}"
    return StorageItem.model_validate(
        {
            "name": blob.hash,
            "kind": references[0].kind if references else UNREFERRED,
            "size": blob.size,
            "at": at,
            "needed_by": users,
            "state": state,
            "why": why,
        }
    )
