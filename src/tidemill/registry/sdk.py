"""`client.models`: models, their versions and aliases."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from tidemill.core.blobs.sdk import BlobStore
from tidemill.core.http import Http
from tidemill.core.wire import Page
from tidemill.registry.inspection import folder_files, inspect
from tidemill.registry.packaged import PACKAGED, locate
from tidemill.registry.types import (
    AliasChange,
    AliasHistory,
    AliasMove,
    AliasRemove,
    Card,
    ChatTemplate,
    EvidenceList,
    Kind,
    Model,
    ModelCard,
    ModelEvidence,
    ModelFile,
    ModelVersion,
    PackagedModelMissing,
    ParentRef,
    VersionCreate,
)

Progress = Callable[[str, int, int], None]
"""Called while a file is uploaded: its path, bytes sent, bytes in all."""


class Models:
    """Models, adapters, their versions and the aliases that point at them."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def add(
        self,
        path: str | Path,
        *,
        name: str,
        kind: Kind | None = None,
        parents: list[ParentRef] | None = None,
        licence: str | None = None,
        card: Card | None = None,
        description: str = "",
        progress: Progress | None = None,
    ) -> ModelVersion:
        """Upload a model file or folder and register it. The kind is `base`, or `adapter` when the files are one.

        The files are judged here before anything is sent, and by the server again. Raises UnsafeModelFile,
        CorruptModelFile, UnknownModelFormat, ModelFilesMissing, VersionDiffers.
        """
        paths = folder_files(Path(path))
        inspection = inspect(paths)
        blobs = BlobStore(self._http)
        files = []
        for label, file in sorted(paths.items()):
            blob = blobs.put(file, progress=_reporter(label, progress))
            files.append(ModelFile(path=label, hash=blob.hash, size=blob.size))
        body = VersionCreate(
            model=name,
            kind=kind or ("adapter" if inspection.adapter else "base"),
            files=files,
            parents=parents or [],
            licence=licence,
            card=card,
            description=description,
        )
        return self.create(body)

    def add_packaged(
        self, packaged: str = "smollm2", *, name: str | None = None, progress: Progress | None = None
    ) -> ModelVersion:
        """Register a base model that an installed Python package carries. Raises PackagedModelMissing."""
        package = PACKAGED.get(packaged)
        if package is None:
            raise PackagedModelMissing(
                f"There is no packaged model {packaged!r}.", hint=f"Known: {', '.join(sorted(PACKAGED))}."
            )
        return self.add(
            locate(package),
            name=name or package.name,
            kind="base",
            licence=package.licence,
            card=package.card,
            description=package.description,
            progress=progress,
        )

    def create(self, body: VersionCreate) -> ModelVersion:
        """Register files that are uploaded already; return the version."""
        return self._http.post("/api/model-versions", ModelVersion, body)

    def get(self, ref: str) -> ModelVersion:
        """Return one version: `name` (newest), `name@3`, `name@alias` or an id. Raises ModelNotFound."""
        return self._http.get(f"/api/model-versions/{ref}", ModelVersion)

    def delete(self, ref: str) -> None:
        """Delete a version that nothing refers to. Raises ModelInUse."""
        self._http.delete(f"/api/model-versions/{ref}")

    def list(self, *, cursor: str | None = None, limit: int = 50) -> Page[Model]:
        """Return a page of models, sorted by name."""
        return self._http.get("/api/models", Page[Model], {"cursor": cursor, "limit": limit})

    def model(self, name: str) -> Model:
        """Return the model of a name. Raises ModelNotFound."""
        return self._http.get(f"/api/models/{name}", Model)

    def versions(self, name: str, *, cursor: str | None = None, limit: int = 50) -> Page[ModelVersion]:
        """Return the versions of one model, newest first."""
        return self._http.get(f"/api/models/{name}/versions", Page[ModelVersion], {"cursor": cursor, "limit": limit})

    def card(self, ref: str) -> ModelCard:
        """Return the model card as a Markdown file."""
        return self._http.get(f"/api/model-versions/{ref}/card", ModelCard)

    def evidence(self, ref: str) -> tuple[ModelEvidence, ...]:
        """Return why a version may be served, or why not; newest first."""
        return tuple(self._http.get(f"/api/model-versions/{ref}/evidence", EvidenceList).items)

    def chat_template(self, ref: str) -> ChatTemplate:
        """Return the chat template that a version carries."""
        return self._http.get(f"/api/model-versions/{ref}/chat-template", ChatTemplate)

    def aliases(self, name: str) -> Page[AliasChange]:
        """Return where the aliases of a model point now."""
        return self._http.get(f"/api/models/{name}/aliases", Page[AliasChange])

    def move_alias(self, name: str, alias: str, version: str | int, *, reason: str) -> AliasChange:
        """Point an alias at a version. Raises InvalidAlias, ModelNotFound."""
        body = AliasMove(version=str(version), reason=reason)
        return self._http.put(f"/api/models/{name}/aliases/{alias}", AliasChange, body)

    def remove_alias(self, name: str, alias: str, *, reason: str) -> AliasChange:
        """Take an alias away; its history stays."""
        return self._http.post(f"/api/models/{name}/aliases/{alias}/removal", AliasChange, AliasRemove(reason=reason))

    def alias_history(self, name: str, alias: str) -> AliasHistory:
        """Return every move of an alias, newest first."""
        return self._http.get(f"/api/models/{name}/aliases/{alias}", AliasHistory)

    def alias_at(self, name: str, alias: str, at: datetime | None = None) -> ModelVersion:
        """Return the version that an alias names now, or named at the moment `at` (with a time zone)."""
        params = {"at": at.isoformat() if at is not None else None}
        return self._http.get(f"/api/models/{name}/aliases/{alias}/version", ModelVersion, params)


def _reporter(label: str, progress: Progress | None) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda sent_bytes, total: progress(label, sent_bytes, total)
