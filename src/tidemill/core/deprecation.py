"""Names that modules had in the release before, and where they went."""

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def moved_names(module: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of `module` for names that stand elsewhere now: `{"verify": "package.module:verify"}`.

    It warns of the deprecation, and raises AttributeError for every other name.
    """

    def find_moved(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        place, _, attribute = places[name].partition(":")
        warnings.warn(
            f"{module}.{name} goes in the next release: import {attribute} from {place}",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(import_module(place), attribute)

    return find_moved
