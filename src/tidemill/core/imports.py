"""Imports of many modules at once, and what is kept out of them."""

import gc
import os
import sys
from contextlib import suppress
from importlib import import_module
from types import ModuleType

PLUGINS_VARIABLE = "PYDANTIC_DISABLE_PLUGINS"

_set_variables: set[str] = set()
"""The variables that `spare_imports` has set in the environment."""


def spare_imports() -> None:
    """Keep out of this process what others would load into it: together more than the rest of a command."""
    # The command line of httpx, with pygments and what it draws with; httpx goes without when it cannot be imported.
    if "httpx._main" not in sys.modules:
        sys.modules["httpx._main"] = None  # type: ignore[assignment]
    # Plugins of pydantic that happen to be installed, such as logfire.
    if PLUGINS_VARIABLE not in os.environ:
        os.environ[PLUGINS_VARIABLE] = "__all__"
        _set_variables.add(PLUGINS_VARIABLE)


def environment_before_sparing() -> dict[str, str]:
    """Return the environment as it was before `spare_imports`, for child processes."""
    environment = dict(os.environ)
    for name in _set_variables:
        environment.pop(name, None)
    return environment


def restore_imports() -> None:
    """Undo `spare_imports`: what is imported, made and started from now on finds things as they were."""
    for name in _set_variables:
        os.environ.pop(name, None)
    _set_variables.clear()
    if sys.modules.get("httpx._main", sys) is None:
        del sys.modules["httpx._main"]


def restore_imports_for_foreign_code() -> None:
    """Undo `spare_imports` before code runs in this process that is not ours."""
    was_spared = sys.modules.get("httpx._main", sys) is None
    restore_imports()
    if was_spared and "httpx" in sys.modules:
        with suppress(ImportError):  # httpx was installed without its command line
            sys.modules["httpx"].main = import_module("httpx._main").main  # type: ignore[attr-defined]


def import_at_once(name: str) -> ModuleType:
    """Import a module, and all that it needs, with the garbage collector off.

    What an import makes stays, so going through it again and again finds nothing; it takes a fifth of the time.
    """
    if name in sys.modules:  # freezing again would keep for good what was made since
        return sys.modules[name]
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return import_module(name)
    finally:
        if was_enabled:
            gc.freeze()
            gc.enable()
