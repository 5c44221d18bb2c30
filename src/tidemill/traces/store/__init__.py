"""The span store: one file a day under SQLite, one schema a day under PostgreSQL."""

from tidemill.core.settings import Settings


class TraceStore:
    """Where spans are. `kernel.part(TraceStore)`; other features ask through `traces.service`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
