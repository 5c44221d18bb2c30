"""Telling files that could run code when they are loaded, by what they contain and not only by their name."""

import pickletools
from pathlib import Path, PurePosixPath

from tidemill.registry.types import UnsafeModelFile

SUFFIXES = frozenset(
    {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".dill", ".npy", ".npz", ".h5", ".hdf5", ".keras"}
    | {
        ".py",
        ".pyc",
        ".so",
        ".dll",
        ".dylib",
        ".exe",
        ".sh",
        ".zip",
        ".tar",
        ".gz",
        ".7z",
        ".pdparams",
        ".mar",
        ".nemo",
    }
)
"""Names under which pickles, archives and programs come."""

_MAGIC = {
    b"PK\x03\x04": "a zip archive, as PyTorch writes its pickles",
    b"PK\x05\x06": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"\x93NUMPY": "a NumPy array, which may hold a pickle",
    b"\x89HDF\r\n": "an HDF5 file, as Keras writes models with code",
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"#!": "a script",
}

_HEAD = 2**20
_MANY = 1000


def check(path: Path, label: str) -> None:
    """Raise UnsafeModelFile when the file `path`, called `label` in errors, could run code."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    what = describe(head)
    suffix = PurePosixPath(label).suffix.lower()
    if what is None and suffix in SUFFIXES:
        what = f"a {suffix} file"
    if what is not None:
        raise UnsafeModelFile(
            f"{label} is {what}: loading it could run code.",
            hint="Convert the weights to safetensors or GGUF and leave this file out. Only those two are loaded.",
            param="files",
        )


def describe(head: bytes) -> str | None:
    """Return what kind of dangerous file starts with `head`; None when it is none that we know."""
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            return what
    if head[257:262] == b"ustar":
        return "a tar archive"
    return "a pickle" if _is_pickle(head) else None


def _is_pickle(head: bytes) -> bool:
    # Protocol 2 and later says so in its first two bytes.
    if len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return True
    # Protocols 0 and 1 have no mark: it is one when it can be read up to its STOP and does more than stop.
    # A long one goes on after what was read, so that many operations in a row are enough.
    count = 0
    try:
        for operation, _argument, _at in pickletools.genops(head):
            count += 1
            if operation.name == "STOP":
                return count > 1
    except Exception:  # noqa: BLE001 - genops raises many kinds on text that is no pickle, and that is the answer
        return len(head) == _HEAD and count > _MANY
    return False
