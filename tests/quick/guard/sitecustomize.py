"""Python imports this module at its start. In a quick run of the tests it refuses what runs or trains a model."""

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

DEAR = {"xllamacpp": "engine", "torch": "tune"}
"""Import name -> the marker of tests that need it."""


class _Refusing(Loader):
    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        raise RuntimeError(f"a quick run of the tests loads no {name}: mark the test {DEAR[name]!r} or do without it")


class _Finder(MetaPathFinder):
    """Finds the modules, so that their presence can still be asked for; they cannot be loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, _Refusing()) if fullname in DEAR else None


if not any(type(finder).__name__ == _Finder.__name__ for finder in sys.meta_path):
    sys.meta_path.insert(0, _Finder())
