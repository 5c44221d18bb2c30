"""What can go wrong with an engine."""

from tidemill.core.errors import Failed


class EngineFailed(Failed):
    """An engine did not start, or stopped by itself."""

    code = "engine_failed"
