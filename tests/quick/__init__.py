"""What `make quick` leaves out, and the guard that sees that nothing of it is started all the same.

A fixture that starts something dear says so with `needs`, and every test that uses it gets the marker of that name.
"""

import os
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import pytest

LEFT_OUT = ("engine", "tune", "postgres", "slow")
"""The markers of tests that `--quick` leaves out."""

CHECKED = "tests/architecture/"
"""What `make check` runs in any case."""

GUARD = Path(__file__).parent / "guard"
"""A folder that every Python process of a quick run has on its path: its `sitecustomize` refuses dear imports."""

F = TypeVar("F", bound=Callable[..., Any])


def needs(marker: str) -> Callable[[F], F]:
    """Below `@pytest.fixture`: tests with this fixture get `marker`."""

    def note(function: F) -> F:
        function.needs = marker  # type: ignore[attr-defined]
        return function

    return note


def markers(item: pytest.Item) -> Iterator[str]:
    """The markers that an item's fixtures give it."""
    callspec = getattr(item, "callspec", None)
    if callspec is not None and callspec.params.get("database_url") == "postgres":
        yield "postgres"
    for definitions in item._fixtureinfo.name2fixturedefs.values():  # type: ignore[attr-defined]
        marker = getattr(definitions[-1].func, "needs", None)
        if marker is not None:
            yield marker


def _is_dear(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in LEFT_OUT)


def select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the items and, in quick mode, keep those that need nothing dear."""
    for item in items:
        for marker in markers(item):
            item.add_marker(marker)
    if config.getoption("quick"):
        dear = {item for item in items if item.nodeid.startswith(CHECKED) or _is_dear(item)}
        config.hook.pytest_deselected(items=[item for item in items if item in dear])
        items[:] = [item for item in items if item not in dear]


def guard() -> None:
    """Refuse engines and trainers in this process and in those that it starts."""
    inherited = os.environ.get("PYTHONPATH")
    if str(GUARD) not in (inherited or "").split(os.pathsep):
        os.environ["PYTHONPATH"] = os.pathsep.join([str(GUARD), *([inherited] if inherited else [])])
    import_module("tests.quick.guard.sitecustomize")
