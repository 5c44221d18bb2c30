"""From a file to a document: YAML, checked, with every fault shown where it stands."""

import hashlib
import types
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tidemill.core.errors import TidemillError, nearest
from tidemill.core.value_faults import fault as describe_fault
from tidemill.data.types import FileMissing
from tidemill.pipelines.faults import Fault, to_error, with_locations
from tidemill.pipelines.types import (
    PipelineFileMissing,
    PipelineInvalid,
    PipelineSpec,
    PipelineUnreadable,
    SourceFile,
)
from tidemill.pipelines.yaml_locations import Located, Path, locate, suggest

FILE = "tidemill.yaml"
SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".pq", ".txt", ".gz")


def read(path: FilePath) -> tuple[PipelineSpec, Located]:
    """Return the document in a file. Raises PipelineFileMissing, PipelineUnreadable, PipelineInvalid."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise PipelineFileMissing(
            f"There is no file {path}.", hint="Name another with --file; examples/tidemill.yaml shows a whole one."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineUnreadable(f"{path} cannot be read as UTF-8 text: {error}.") from error
    document = locate(text, path.name)
    return parse(document), document


def parse(document: Located) -> PipelineSpec:
    """Return the document of plain values.

    Raises PipelineInvalid, which names every fault with line, column and the nearest right word.
    """
    try:
        return PipelineSpec.model_validate(document.value)
    except ValidationError as error:
        raise to_error(_faults(document, error), document) from error


def _faults(document: Located, error: ValidationError) -> list[Fault]:
    """Return the faults of a document by their lines, without those that follow from another one."""
    details = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    places = [document.existing_path(tuple(detail["loc"])) for detail in details]
    other_places = [p for detail, p in zip(details, places, strict=True) if not _is_form(detail)]
    by_place: dict[tuple[Path, str], Fault] = {}
    explained: set[tuple[Path, str]] = set()
    for detail, path in zip(details, places, strict=True):
        last = str(detail["loc"][-1]) if detail["loc"] else ""
        if detail["type"] == "extra_forbidden":
            words = _words(document, path[:-1])
            explained |= {(path[:-1], word) for word in nearest(last, words, 1)}
            fault = Fault(path, f"{last!r} is no known key", suggest(last, words), at_key=True)
            by_place.setdefault((path, ""), fault)
        elif detail["type"] == "missing":
            if (path, last) not in explained:  # else the misspelt word explains it
                by_place.setdefault((path, last), Fault(path, *_describe(detail)))
        elif not (_is_form(detail) and any(p[: len(path)] == path for p in other_places)):
            # Of a value with several forms, each form complains; the fault inside of one says more.
            by_place.setdefault((path, ""), Fault(path, *_describe(detail)))
    return sorted(by_place.values(), key=lambda fault: _line(document, fault))


def _is_form(detail: ErrorDetails) -> bool:
    return detail["type"].endswith("_type")


def _line(document: Located, fault: Fault) -> tuple[int, int]:
    place = document.location(fault.path, key=fault.at_key)
    return place.line, place.column


def _describe(error: ErrorDetails) -> tuple[str, str | None]:
    value, context = error.get("input"), error.get("ctx") or {}
    if error["type"] == "missing":
        return f"{str(error['loc'][-1])!r} is missing", None
    if error["type"] == "literal_error":
        choices = [w.strip().strip("'") for w in str(context.get("expected", "")).replace(" or ", ", ").split(",")]
        return f"{value!r} is not possible here", suggest(str(value), choices)
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        choices = [w.strip().strip("'") for w in str(context.get("expected_tags", "")).split(",")]
        tag = str(context.get("tag", ""))
        return (f"{tag!r} is not possible here" if tag else "which one is not said"), suggest(tag, choices)
    text = describe_fault(error)
    is_shown = isinstance(value, str | int | float | bool) and repr(value)[:80] not in text
    return text[:1].lower() + text[1:] + (f" (it is {value!r})" if is_shown else ""), None


def _words(document: Located, path: Path) -> list[str]:
    """Return the words that are allowed at a place of the document."""
    kinds: list[Any] = [PipelineSpec]
    value = document.value
    for part in path:
        value = _child(value, part)
        kinds = [inner for kind in kinds for inner in _inside(kind, part)]
    models = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
    tagged = [m for m in models if _tag_fits(m, value)]
    return sorted({word for model in (tagged or models) for word in model.model_fields})


def _child(value: Any, part: str | int) -> Any:
    if isinstance(value, dict):
        return value.get(part)
    return value[part] if isinstance(value, list) and isinstance(part, int) else None


def _tag_fits(model: type[BaseModel], value: Any) -> bool:
    """Of a union told apart by a word (`step: length`): whether this is the one that is meant."""
    for name, info in model.model_fields.items():
        tag = get_origin(info.annotation) is Literal and info.default is not None
        if tag and isinstance(value, dict) and name in value:
            return bool(value[name] == info.default)
    return True


def _inside(kind: Any, part: str | int) -> list[Any]:
    if isinstance(part, int):
        if isinstance(kind, type) and issubclass(kind, BaseModel):  # the short form: a list for its only list
            return [inner for info in kind.model_fields.values() for inner in _inside_list(info.annotation)]
        return _inside_list(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel) and part in kind.model_fields:
        return _flat(kind.model_fields[part].annotation)
    return []


def _inside_list(kind: Any) -> list[Any]:
    return _flat(get_args(kind)[0]) if get_origin(kind) is list else []


def _flat(kind: Any) -> list[Any]:
    """Return the types inside annotations and unions."""
    if get_origin(kind) is Annotated:
        return _flat(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return [inner for arg in get_args(kind) for inner in _flat(arg)]
    return [kind]


def with_location(document: Located, error: TidemillError) -> TidemillError:
    """Return the server's error with the lines of the document that it is about."""
    return with_locations(document, error) if isinstance(error, PipelineInvalid) else error


def files(spec: PipelineSpec, folder: FilePath) -> list[tuple[str, FilePath]]:
    """Return the files that the document names, each with the name it goes by. Raises FileMissing."""
    out: list[tuple[str, FilePath]] = []
    for source in spec.data.sources if spec.data is not None else []:
        path = folder / source.path
        if not path.exists():
            raise FileMissing(
                f"There is no file {source.path} beside the document.",
                hint="Paths are relative to the folder of the document.",
                param="data.sources",
            )
        inner = sorted(p for p in path.rglob("*") if p.is_file() and p.name.endswith(SUFFIXES)) if path.is_dir() else []
        out += [(p.relative_to(folder).as_posix(), p) for p in inner] or [(source.path, path)]
    return out


def with_sources(spec: PipelineSpec, sources: list[SourceFile]) -> PipelineSpec:
    """Return the document with `sources` as its data sources."""
    if spec.data is None:
        return spec
    return spec.model_copy(update={"data": spec.data.model_copy(update={"sources": sources})})


def digest(path: FilePath) -> str:
    """Return the hash that a file's blob will have."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
