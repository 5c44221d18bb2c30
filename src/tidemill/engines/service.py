"""The engine that this installation uses: the one that the setting `engine` names."""

from collections.abc import Collection

from tidemill.core.plugins import Plugins
from tidemill.core.settings import Settings
from tidemill.engines.types import GROUP, Engine

_FORMATS_OF_OLD = ("gguf",)
"""What an engine serves that says nothing of it, as those of 0.1.0."""


def load_engine(plugins: Plugins, settings: Settings) -> Engine:
    """Return the engine of the setting. Raises PluginMissing, with the names of those that are installed."""
    kind = plugins.load(GROUP, settings.engine)
    engine: Engine = kind() if isinstance(kind, type) else kind
    return engine


def list_formats(plugins: Plugins, settings: Settings) -> Collection[str]:
    """Return the formats of model files that the engine serves. Raises PluginMissing."""
    formats: Collection[str] = getattr(load_engine(plugins, settings), "formats", _FORMATS_OF_OLD)
    return formats
