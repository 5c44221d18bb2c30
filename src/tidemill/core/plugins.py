"""Named seams: an implementation is found by group and name through the package's entry points."""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from tidemill.core.errors import NotFound
from tidemill.core.imports import restore_imports_for_foreign_code


class PluginMissing(NotFound):
    """No installed package offers this name in this group."""

    code = "plugin_missing"


@cache
def _entry_points(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


class Plugins:
    """Loads implementations of a group by name, on first use. Built-ins are registered in `pyproject.toml` too."""

    def names(self, group: str) -> list[str]:
        """Return the names of the implementations in `group`, sorted."""
        return sorted(_entry_points(group))

    def load(self, group: str, name: str) -> Any:
        """Return the implementation `name` of `group`. Raises PluginMissing with the names that exist."""
        point = _entry_points(group).get(name)
        if point is None:
            installed = ", ".join(self.names(group)) or "none"
            raise PluginMissing(
                f"There is no {group.removeprefix('tidemill.')} plugin called {name!r}.",
                hint=f"Installed: {installed}. Install the package that offers it.",
            )
        if not point.value.startswith("tidemill."):
            restore_imports_for_foreign_code()
        return point.load()
