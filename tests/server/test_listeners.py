"""Features hear of the facts of others through one table."""

from tidemill.core.event_types import Event
from tidemill.core.kernel import Context
from tidemill.server.app import LISTENERS, merge_listeners


def first(ctx: Context, event: Event) -> None:
    """Listens first."""


def second(ctx: Context, event: Event) -> None:
    """Listens second."""


def test_two_features_may_listen_to_one_kind() -> None:
    assert merge_listeners({"a": [first]}, {"a": [second], "b": (second,)}) == {"a": [first, second], "b": [second]}


def test_the_application_listens_to_something() -> None:
    assert LISTENERS
    assert all(LISTENERS.values())
