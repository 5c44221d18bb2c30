"""The files and folders of a home beside its blobs: what each is, and whether anything needs it."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from tidemill.core.blobs.local import STALE_SECONDS
from tidemill.core.kernel import Kernel
from tidemill.core.wire import utc_now
from tidemill.jobs.types import LiveJob
from tidemill.storage.survey import StorageUsage
from tidemill.storage.types import StorageItem

FRESH_S = 3600.0
"""A folder used since then may belong to what is being made."""


class StoredFile(NamedTuple):
    """A file or folder: its place, bytes and newest change."""

    path: Path
    size: int
    at: datetime


class FileJudgement(NamedTuple):
    """Whether something may go, and why."""

    kind: str
    needed_by: str | None
    removable: bool
    why: str


def measure(path: Path, *, links: bool = False) -> StoredFile:
    """Return the bytes below a path, and when the newest of it was written.

    With `links` files that have another name do not count: they are links to blobs, with the blobs' own times.
    """
    facts = path.lstat()
    if not path.is_dir() or path.is_symlink():
        return StoredFile(path, facts.st_size, _time(facts.st_mtime))
    size, newest = 0, facts.st_mtime
    for folder, _names, files in os.walk(path):
        for name in files:
            with suppress(FileNotFoundError):
                inner = os.lstat(os.path.join(folder, name))
                if not links or inner.st_nlink == 1:
                    size, newest = size + inner.st_size, max(newest, inner.st_mtime)
    return StoredFile(path, size, _time(newest))


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def list_home(kernel: Kernel, usage: StorageUsage) -> Iterator[StorageItem]:
    """Yield everything in the home but the blobs."""
    home = kernel.settings.home
    for folder, judge in (
        ("work", _judge_job_folder),
        ("tuning", _judge_job_folder),
        ("logs", _judge_log(_live_engines(home))),
        ("cache/models", _judge_model_folder),
        ("cache/blobs", _judge_cached),
        ("blobs/incoming", _judge_incoming),
    ):
        for entry in _entries(home / folder, nested=folder == "cache/blobs", links=folder == "cache/models"):
            yield _item(home, entry, judge(entry, usage))
    for kind, why, paths in (
        ("traces", f"kept {kernel.settings.trace_retention_days} days (TIDEMILL_TRACE_RETENTION_DAYS)", ["traces"]),
        ("database", "models, datasets, runs and all other records", ["tidemill.db", "tidemill.db-wal"]),
        ("log of job steps", "jobs go on from it after a crash", ["jobs.db", "jobs.db-wal"]),
        ("models of Tidemill's own", "drift of texts is measured with it; made again when it is missing", ["models"]),
        ("files of the demo", "the demo reads them", ["demo"]),
    ):
        for name in paths:
            for entry in _entries(home / name):
                yield _item(home, entry, FileJudgement(kind, "the server", False, why))


def _entries(path: Path, *, nested: bool = False, links: bool = False) -> Iterator[StoredFile]:
    with suppress(FileNotFoundError, NotADirectoryError):
        if path.is_file():
            yield measure(path)
            return
        for child in sorted(path.iterdir()):
            if nested and child.is_dir():
                yield from _entries(child)
                continue
            with suppress(FileNotFoundError):
                yield measure(child, links=links)


def _item(home: Path, entry: StoredFile, judgement: FileJudgement) -> StorageItem:
    return StorageItem(
        name=str(entry.path.relative_to(home)),
        kind=judgement.kind,
        size=entry.size,
        at=entry.at,
        needed_by=[judgement.needed_by] if judgement.needed_by else [],
        state="needed" if judgement.needed_by else "removable" if judgement.removable else "young",
        why=judgement.why,
    )


def owner_of(name: str) -> str:
    """Return the job or run that a folder of `work` or `tuning` belongs to."""
    return Path(name).name.split(".")[0]


def _by_age(kind: str, entry: StoredFile, usage: StorageUsage) -> FileJudgement:
    old = entry.at < usage.old_before
    why = f"nothing needs it; last written on {entry.at:%Y-%m-%d}"
    return FileJudgement(kind, None, old, why)


def _judge_job_folder(entry: StoredFile, usage: StorageUsage) -> FileJudgement:
    owner, kind = owner_of(entry.path.name), "folders of jobs"
    job: LiveJob | None = next((job for job in usage.live_jobs if owner in (job.id, job.subject)), None)
    if job is not None:
        why = f"{job.kind} {job.id} {'can be retried' if job.ended else f'is {job.state}'}"
        return FileJudgement(kind, job.id, False, why)
    return _by_age(kind, entry, usage)


def _judge_log(live_engines: set[str]) -> Callable[[StoredFile, StorageUsage], FileJudgement]:
    def judge(entry: StoredFile, usage: StorageUsage) -> FileJudgement:
        if not entry.path.name.startswith("engine-"):
            return FileJudgement("log of the server", "the server", False, "the server writes it")
        kind = "logs of engines"
        if entry.path.stem[-8:] in live_engines:
            return FileJudgement(kind, "a running engine", False, "its engine runs")
        return _by_age(kind, entry, usage)

    return judge


def _live_engines(home: Path) -> set[str]:
    """Return the ends of the ids of engines that run, by which their logs are named."""
    return {path.stem[-8:] for path in (home / "run" / "engines").glob("*.json")}


def _judge_model_folder(entry: StoredFile, usage: StorageUsage) -> FileJudgement:
    kind, version_id = "models laid out for engines", entry.path.name
    if version_id in usage.versions:
        if entry.size == 0:
            return FileJudgement(kind, version_id, False, "links to the version's blobs, without bytes of their own")
        return _by_age(kind, entry, usage)
    # A version may have been made after `usage` was read, and a folder that begins with a dot is just being filled.
    old = (utc_now() - entry.at).total_seconds() > (STALE_SECONDS if version_id.startswith(".") else FRESH_S)
    return FileJudgement(kind, None, old, "the version or its files were removed")


def _judge_cached(entry: StoredFile, usage: StorageUsage) -> FileJudgement:
    return _by_age("copies of blobs in the bucket", entry, usage)


def _judge_incoming(entry: StoredFile, usage: StorageUsage) -> FileJudgement:
    del usage
    dead = (utc_now() - entry.at).total_seconds() > STALE_SECONDS
    return FileJudgement("unfinished uploads", None, dead, "whoever sends it may go on for a day")
