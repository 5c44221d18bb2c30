"""`client.storage`: what takes space, why, and what may go."""

from tidemill.core.http import Http
from tidemill.core.removals import Removal
from tidemill.core.wire import Page
from tidemill.storage.types import CleanPlan, ItemState, StorageClean, StorageItem, StorageReport


class Storage:
    """What takes space in the home and the blob store, and its removal."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def get(self) -> StorageReport:
        """Return what takes space, by kind, and why it is kept."""
        return self._http.get("/api/storage", StorageReport)

    def list(
        self, *, kind: str | None = None, state: ItemState | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[StorageItem]:
        """Return a page of blobs, files and folders, the largest first."""
        params = {"kind": kind, "state": state, "cursor": cursor, "limit": limit}
        return self._http.get("/api/storage/items", Page[StorageItem], params)

    def list_removed(self, *, cursor: str | None = None, limit: int = 50) -> Page[Removal]:
        """Return a page of what was removed to free space, the latest first."""
        return self._http.get("/api/storage/removed", Page[Removal], {"cursor": cursor, "limit": limit})

    def clean(self, *, apply: bool = False, keep_days: int | None = None) -> CleanPlan:
        """Return what may go; with `apply` a job removes it: wait for `job_id` with `client.jobs.wait`."""
        body = StorageClean(apply=apply, keep_days=keep_days)
        return self._http.post("/api/storage/clean", CleanPlan, body)
