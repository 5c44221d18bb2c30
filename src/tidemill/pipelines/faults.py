"""The faults of a document as one error: each with its line, its word and the nearest right word."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tidemill.core.parsing import parse_number
from tidemill.pipelines.types import PipelineInvalid
from tidemill.pipelines.yaml_locations import Located, Path

MOST_FAULTS = 50
"""Faults that one error names; a document with more is another kind of file."""


@dataclass(frozen=True)
class Fault:
    """One fault of a document."""

    path: Path
    message: str
    hint: str | None = None
    at_key: bool = False
    """Whether the word before the colon is wrong, and not what stands after it."""

    @property
    def param(self) -> str:
        """Return the place in the document, such as `gates.0.metric`."""
        return ".".join(str(part) for part in self.path)


def to_error(faults: Sequence[Fault], document: Located | None = None) -> PipelineInvalid:
    """Return the error that names all faults, with line and column where the document is at hand.

    `details.faults` has them one by one, so that the side that has the file can add the lines.
    """
    listed = list(faults[:MOST_FAULTS])
    details = {"faults": [asdict(fault) | {"path": list(fault.path)} for fault in listed]}
    param = listed[0].param or None
    if len(faults) == 1:
        text = f"{_location(listed[0], document)}{listed[0].message}."
        return PipelineInvalid(text, hint=listed[0].hint, param=param, details=details)
    lines = [f"{_location(fault, document)}{fault.message}. {fault.hint or ''}".rstrip() for fault in listed]
    if len(faults) > MOST_FAULTS:
        lines.append(f"and {len(faults) - MOST_FAULTS} more.")
    name = document.file if document is not None else "The document"
    text = "\n  ".join([f"{name} has {len(faults)} faults:", *lines])
    return PipelineInvalid(text, param=param, details=details)


def _location(fault: Fault, document: Located | None) -> str:
    if document is None:
        return f"{fault.param}: " if fault.param else ""
    location = document.at(document.existing_path(fault.path), key=fault.at_key)
    return f"{location}: " if fault.at_key or not fault.param else f"{location}: {fault.param}: "


def with_locations(document: Located, error: PipelineInvalid) -> PipelineInvalid:
    """Return the server's error with the lines of the document that it is about."""
    faults = [
        Fault(path=tuple(item["path"]), message=item["message"], hint=item["hint"], at_key=item["at_key"])
        for item in (error.details or {}).get("faults", [])
    ]
    if faults:
        return to_error(faults, document)
    if error.param is None:
        return error
    path: Path = tuple(p if (n := parse_number(p)) is None else n for p in error.param.split("."))
    location = document.at(document.existing_path(path))
    return PipelineInvalid(f"{location}: {error.message}", hint=error.hint, param=error.param, details=error.details)
