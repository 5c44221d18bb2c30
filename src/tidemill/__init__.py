"""Tidemill: the whole loop of a language-model product in one system.

`tidemill.Client` is the Python client; it is loaded on first use, so that `import tidemill` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tidemill.client import Client as Client
    from tidemill.core.errors import TidemillError as TidemillError

__version__ = "0.1.0"

__all__ = ["Client", "TidemillError", "__version__"]

_PLACES = {"Client": "tidemill.client", "TidemillError": "tidemill.core.errors"}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'tidemill' has no attribute {name!r}")
