"""The value of an audit event, apart from its table so that a client need not load a database."""

from typing import Any

from pydantic import Field

from tidemill.core.wire import Instant, Value


class Event(Value):
    """One thing that happened: what, to what, when and by whom."""

    id: str
    at: Instant
    kind: str = Field(description="What happened, such as `prompt.created`.")
    subject: str = Field(description="Id of the thing it happened to.")
    actor_id: str
    actor_name: str
    data: dict[str, Any]
