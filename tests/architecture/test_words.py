"""Names are the field's terms: the replaced ones of `docs/glossary.md` stay out, and docstrings say something."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.architecture.source import PACKAGE, ROOT, functions, modules, owner, shown

GLOSSARY = ROOT / "docs" / "glossary.md"

RELEASED = {
    ("triggers", "turn"),  # the route, the command and the method of 0.1, each with its notice
    ("jobs", "work"),  # the method of 0.1's guide to jobs, with its warning
    ("rollouts", "spilled"),  # the field of 0.1
}
"""Replaced names that stay for one release, by feature."""

VAGUE = {
    "found", "wanted", "made", "told", "taken", "kept", "said", "given", "asked", "left", "held", "seen", "drawn",
    "whole", "lent", "counted", "picked", "shown", "meant", "sent", "known",
}  # fmt: skip
"""A local of this name says how its value came about, not what it is."""

SIDES = {"left"}
"""These stay where a function also has the other one: `left` and `right`."""

MODULES_IN_ING = {
    "embedding", "mapping", "masking", "monitoring", "pairing", "parsing", "rendering",
    "retraining", "routing", "tuning",
}  # fmt: skip
"""Modules named by a noun of the field that ends so; others would name a doing."""

RENAMED_PHRASES = (
    "two keys", "both keys", "turn the key", "turned the key", "the books of", "hung up", "the door ", "a door ",
    "«", "»",
)  # fmt: skip
"""Metaphors that the docs had for what has a standard word now."""


def _replaced() -> Iterator[tuple[str, str]]:
    """Replaced name and the feature (or `everywhere`) from the glossary's second table."""
    table = GLOSSARY.read_text(encoding="utf-8").split("## Replaced names")[1]
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) == 3:
            yield from ((name, cells[2]) for name in re.findall(r"`(\w+)`", cells[0]))


@cache
def _defined() -> dict[str, list[tuple[str, str]]]:
    """Every name that the package defines for more than a function's inside, with its features and places."""
    names: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for path, tree in modules().items():
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        for part in parts:
            names[part].append((owner(path), shown(path)))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                names[node.name.strip("_")].append((owner(path), f"{shown(path)}:{node.lineno}"))
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                names[node.attr.strip("_")].append((owner(path), f"{shown(path)}:{node.lineno}"))
    return names


def test_no_replaced_name_comes_back() -> None:
    replaced = list(_replaced())
    assert len(replaced) > 80, "The table was not read."
    back = [
        f"{name} in {place}"
        for name, where in replaced
        for feature, place in _defined().get(name, ())
        if where in ("everywhere", feature) and (feature, name) not in RELEASED
    ]
    assert not back, f"{GLOSSARY.name} says what to write instead: {back}"


def _stored(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[str, int]]:
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno


def test_locals_say_what_they_hold() -> None:
    vague = set()
    for path, tree in modules().items():
        for function in functions(tree):
            stored = list(_stored(function))
            sides = SIDES if any(name == "right" for name, _ in stored) else set()
            vague |= {f"{name} in {shown(path)}:{line}" for name, line in stored if name in VAGUE - sides}
    assert not vague, f"Say what these hold: {sorted(vague)}"


def test_modules_are_nouns() -> None:
    doing = [shown(p) for p in modules() if p.stem.endswith("ing") and p.stem not in MODULES_IN_ING]
    assert not doing


def _documented(tree: ast.Module) -> Iterator[tuple[str, int, str]]:
    """Name, line and docstring of everything in a module that has one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            text := ast.get_docstring(node)
        ):
            yield node.name, node.lineno, text


def _words(text: str) -> set[str]:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    filler = {"a", "an", "the", "of", "this", "one", "its", "it", "s"}
    return {word.rstrip("s") for word in re.findall(r"[a-z0-9]+", spaced.lower())} - filler


def test_docstrings_say_more_than_the_name() -> None:
    empty = [
        f"{name} in {shown(path)}:{line}: {text}"
        for path, tree in modules().items()
        for name, line, text in _documented(tree)
        if not _words(text) - _words(name)
    ]
    assert not empty, f"Say what comes back, or leave the docstring out: {empty}"


def test_no_two_public_classes_share_a_name() -> None:
    """Within one feature they would be seen together; of two features a reader would take one for the other."""
    homes = defaultdict(set)
    for path, tree in modules().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].add(owner(path))
    twice = {name: sorted(features) for name, features in homes.items() if len(features) > 1}
    assert not twice, twice


def _prose() -> list[Path]:
    pages = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "openapi.json",
        *sorted((ROOT / "docs").rglob("*.md")),
    ]
    return [*(page for page in pages if page != GLOSSARY), *modules(), *sorted((ROOT / "examples").glob("*.py"))]


@pytest.mark.parametrize("phrase", RENAMED_PHRASES)
def test_prose_has_no_replaced_phrase(phrase: str) -> None:
    pattern = re.compile(rf"(?<!\w){re.escape(phrase)}", re.IGNORECASE)
    where = [shown(path) for path in _prose() if pattern.search(path.read_text(encoding="utf-8"))]
    assert not where
