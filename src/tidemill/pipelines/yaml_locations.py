"""YAML with the place of every word, so that a fault can be shown where it stands."""

from dataclasses import dataclass, field
from typing import Any

import yaml

from tidemill.core.errors import nearest
from tidemill.pipelines.types import PipelineInvalid, PipelineUnreadable

Path = tuple[str | int, ...]

MOST_NODES = 20_000
"""Words in a document once its aliases are written out; more is an attack or a mistake."""


@dataclass(frozen=True)
class Place:
    """A line and a column, both counted from 1."""

    line: int
    column: int


@dataclass
class Located:
    """A document as plain values, with the location of each key and value."""

    file: str
    value: Any
    keys: dict[Path, Place] = field(default_factory=dict)
    values: dict[Path, Place] = field(default_factory=dict)

    def location(self, path: Path, *, key: bool = False) -> Place:
        """Return the location of `path`, or of the nearest thing around it that has one."""
        first, second = (self.keys, self.values) if key else (self.values, self.keys)
        while path:
            for places in (first, second):
                if path in places:
                    return places[path]
            path = path[:-1]
        return Place(1, 1)

    def existing_path(self, loc: Path) -> Path:
        """Return the part of a validation error's location that is in the document, without names of types."""
        here: list[str | int] = []
        for part in loc:
            if (*here, part) in self.values or (*here, part) in self.keys:
                here.append(part)
        return tuple(here)

    def at(self, path: Path, *, key: bool = False) -> str:
        """Return the place as an editor takes it: `tidemill.yaml:14:5`."""
        place = self.location(path, key=key)
        return f"{self.file}:{place.line}:{place.column}"


class _NodeReader:
    """Turns YAML nodes into plain values and records their locations."""

    def __init__(self, located: Located) -> None:
        self.located = located
        self.count = 0
        self.loader = yaml.SafeLoader("")

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.count += 1
        if self.count > MOST_NODES:
            text = f"{self.located.file} has more than {MOST_NODES} words."
            raise PipelineUnreadable(text, hint="Check its aliases.")
        self.located.values[path] = _location(node)
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*path, i)) for i, child in enumerate(node.value)]
        return self.scalar(node)

    def mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, child in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
            here = (*path, name)
            if name in out:
                place = _location(key)
                raise PipelineInvalid(
                    f"{self.located.file}:{place.line}:{place.column}: {name!r} is there twice,"
                    f" the first time in line {self.located.keys[here].line}.",
                    hint="Keep one of them.",
                    param=name,
                )
            self.located.keys[here] = _location(key)
            out[name] = self.value(child, here)
        return out

    def scalar(self, node: yaml.Node) -> Any:
        try:
            value = self.loader.construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError) as error:
            place = _location(node)
            raise PipelineUnreadable(
                f"{self.located.file}:{place.line}:{place.column}: {node.value!r} cannot be read.",
                hint="Put it in quotes.",
            ) from error
        if isinstance(value, str) and getattr(node, "style", None) is None:
            return _number(value)
        return value if isinstance(value, str | int | float | bool | None) else str(node.value)


def _number(value: str) -> Any:
    """YAML 1.1 reads `1e-3` as text; everybody means the number."""
    try:
        return float(value) if value[:1].isdigit() and "e" in value.lower() else value
    except ValueError:
        return value


def _location(node: yaml.Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)


def locate(text: str, file: str) -> Located:
    """Return the document with its locations. Raises PipelineUnreadable, and PipelineInvalid for a repeated key."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise _unreadable(error, file) from error
    except RecursionError as error:
        raise PipelineUnreadable(f"{file} is nested too deeply.", hint="Is it the right file?") from error
    if not isinstance(node, yaml.MappingNode):
        raise PipelineUnreadable(f"{file}:1:1: this is not a mapping.", hint="Begin with `name: my-loop`.")
    located = Located(file=file, value=None)
    located.value = _NodeReader(located).value(node, ())
    return located


def _unreadable(error: yaml.YAMLError, file: str) -> PipelineUnreadable:
    mark = getattr(error, "problem_mark", None)
    where = f":{mark.line + 1}:{mark.column + 1}" if mark is not None else ""
    problem = getattr(error, "problem", None) or str(error)
    tab = "found character '\\t'" in str(problem)
    hint = "YAML is indented with spaces, not with tabs." if tab else "Check the indentation and the quotes there."
    return PipelineUnreadable(f"{file}{where}: {' '.join(str(problem).split())}.", hint=hint)


def suggest(word: str, words: list[str]) -> str | None:
    """Return a hint: the word most like `word`, else all of `words`; None when there are none."""
    near = nearest(word, words, count=1)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Known here: {', '.join(words)}." if words else None
