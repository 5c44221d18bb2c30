"""The shapes of storage: what lies where, why it is kept, and what a cleaning removes."""

from typing import Literal

from pydantic import Field

from tidemill.core.wire import Body, Instant, Value

ItemState = Literal["needed", "young", "removable"]


class StorageItem(Value):
    """A blob, or a file or folder of the home."""

    name: str = Field(description="`sha256:...` for a blob, else the path in the home.")
    kind: str = Field(description="What it is, such as `rows of datasets` or `logs of engines`.")
    size: int = Field(description="Bytes; 0 for links to blobs, which take no space of their own.")
    at: Instant = Field(description="When it was put, or last written.")
    needed_by: list[str] = Field(description="What refers to it, by name or id; the first few.")
    state: ItemState = Field(description="`young`: nothing needs it, and it goes once it is old enough.")
    why: str = Field(description="Why it is kept, or may go.")


class StorageKind(Value):
    """All items of one kind together."""

    kind: str
    files: int
    bytes: int
    removable_files: int
    removable_bytes: int
    why: str = Field(description="Why the largest item of the kind is kept, or may go.")


class StorageReport(Value):
    """What takes space in a home and its blob store."""

    home: str
    blobs: str = Field(description="Where the blobs are: a folder, or a bucket.")
    keep_days: int = Field(description="Age in days from which what nothing needs may go.")
    automatic: bool = Field(description="Whether a server removes it by itself (TIDEMILL_STORAGE_KEEP_DAYS is not 0).")
    bytes: int
    removable_bytes: int
    kinds: list[StorageKind] = Field(description="The largest first.")
    removed_files: int = Field(description="Removed since the beginning.")
    removed_bytes: int


class StorageClean(Body):
    """The request for a cleaning."""

    apply: bool = Field(default=False, description="Remove what may go; else only say what would.")
    keep_days: int | None = Field(
        default=None,
        ge=1,
        le=36500,
        description="Age in days; default: TIDEMILL_STORAGE_KEEP_DAYS, or 30 if that is 0.",
    )


class CleanPlan(Value):
    """What a cleaning removes."""

    keep_days: int
    files: int
    bytes: int
    items: list[StorageItem] = Field(description="The largest; at most 200.")
    job_id: str | None = Field(description="The job that removes them; null when nothing was asked for but the list.")
