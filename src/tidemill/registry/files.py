"""A version's files: from a folder into the blob store, and from the store back into a folder."""

import errno
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from tidemill.core.errors import StorageFull
from tidemill.core.kernel import Kernel
from tidemill.registry import inspection
from tidemill.registry.types import ModelFile, ModelFilesMissing, ModelFilesRemoved, ModelVersion, UnknownModelFormat


def ingest_folder(kernel: Kernel, path: Path) -> list[ModelFile]:
    """Put the files of a model folder (or one model file) into the blob store, once they are known to be safe.

    Raises UnsafeModelFile, CorruptModelFile, UnknownModelFormat, ModelFilesMissing or StorageFull; nothing is
    stored then but blobs that nobody refers to.
    """
    paths = inspection.folder_files(path)
    inspection.inspect(paths)
    stored = []
    for label, file in sorted(paths.items()):
        blob = kernel.blobs.put_file(file)
        stored.append(ModelFile(path=label, hash=blob.hash, size=blob.size))
    return stored


def local_files(kernel: Kernel, files: list[ModelFile], *, claim: bool = False) -> dict[str, Path]:
    """Return where the bytes of `files` lie on this machine.

    With `claim` a new version is about to refer to them, so that they must not be collected. Raises ModelFilesMissing
    for what the store does not have.
    """
    labels = [file.path for file in files]
    if len(set(labels)) != len(labels):
        raise ModelFilesMissing(
            "Two files have the same path.", hint="Name every file once.", param="files", details={"paths": labels}
        )
    paths = {}
    for file in files:
        blob = kernel.blobs.claim(file.hash) if claim else kernel.blobs.find(file.hash)
        if blob is None or blob.size != file.size:
            state = "does not have it" if blob is None else f"has {blob.size} bytes, not {file.size}"
            raise ModelFilesMissing(
                f"{file.path} is named as {file.hash}, but the blob store {state}.",
                hint="Upload the file first: `client.blobs.put(path)` or `tidemill models add PATH`.",
                param="files",
            )
        paths[file.path] = kernel.blobs.path(file.hash)
    return paths


def require_present(version: ModelVersion) -> None:
    """Raise ModelFilesRemoved for a version whose files were removed to free space."""
    if version.files_removed_at is not None:
        raise ModelFilesRemoved(
            f"The files of {version.ref} were removed on {version.files_removed_at:%Y-%m-%d}: "
            f"{version.files_removed_why}",
            hint="Use another version, or make or add the same files again.",
        )


def folder_of(kernel: Kernel, version_id: str) -> Path:
    """Return where a version's files are laid out on this machine."""
    return kernel.settings.home / "cache" / "models" / version_id


def materialise(kernel: Kernel, version: ModelVersion) -> Path:
    """Return a folder with the version's files, made once and used again; its files are read-only.

    The files are hard links to the blobs, or copies where links cannot be made. Two processes may call this at
    once: the folder appears whole or not at all.
    """
    require_present(version)
    folder = folder_of(kernel, version.id)
    if _is_complete(folder, version.files):
        with suppress(FileNotFoundError):
            os.utime(folder)  # used now
        return folder
    sources = local_files(kernel, version.files)
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{version.id}-", dir=folder.parent))
    try:
        for label, source in sources.items():
            target = building / label
            target.parent.mkdir(parents=True, exist_ok=True)
            _place(source, target)
        building.chmod(0o755)
        _publish(building, folder, version.files)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def weights_path(kernel: Kernel, version: ModelVersion) -> Path:
    """Return the one GGUF file of a version, laid out on this machine. Raises UnknownModelFormat for other formats."""
    if version.format != "gguf":
        raise UnknownModelFormat(
            f"{version.ref} is {version.format}, not GGUF.", hint="Convert it: `tidemill tune` makes GGUF versions."
        )
    name = next(f.path for f in version.files if f.path.lower().endswith(".gguf"))
    return materialise(kernel, version) / name


def remove(kernel: Kernel, version_id: str) -> None:
    """Remove the folder of a deleted version."""
    shutil.rmtree(folder_of(kernel, version_id), ignore_errors=True)


def _is_complete(folder: Path, files: list[ModelFile]) -> bool:
    try:
        return folder.is_dir() and all((folder / f.path).stat().st_size == f.size for f in files)
    except FileNotFoundError:
        return False


def _place(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _full(target, error) from error
        try:
            shutil.copyfile(source, target)
            target.chmod(0o444)
        except OSError as failed:
            if failed.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _full(target, failed) from failed
            raise


def _full(target: Path, error: OSError) -> StorageFull:
    return StorageFull(
        f"No room to lay out {target.name} below {target.parent}: {error.strerror}.",
        hint="Free some disk space there and try again; nothing was half-written.",
    )


def _publish(building: Path, folder: Path, files: list[ModelFile]) -> None:
    try:
        building.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        if _is_complete(folder, files):  # another process was faster
            return
        # Something took files out of it. The damaged folder goes aside in one step, then ours takes its place.
        aside = Path(tempfile.mkdtemp(prefix=".damaged-", dir=folder.parent))
        folder.rename(aside / "was")
        building.rename(folder)
        shutil.rmtree(aside, ignore_errors=True)
