"""A loop over a listing: through the SDK, the routes and a real database."""

import itertools

import pytest

from tidemill.client import Client
from tidemill.core.actors import OWNER
from tidemill.core.kernel import Kernel
from tidemill.core.wire import Page
from tidemill.prompts import service
from tidemill.prompts.types import PromptCreate, PromptNotFound


@pytest.fixture
def requested_paths(client: Client) -> list[str]:
    """What the client has asked the server since."""
    paths: list[str] = []
    client.http.client.event_hooks["request"].append(lambda request: paths.append(str(request.url)))
    return paths


def test_a_loop_over_a_page_goes_on_to_the_end(client: Client, requested_paths: list[str]) -> None:
    for number in range(5):
        client.prompts.create("hello", text=f"text {number}")
    requested_paths.clear()
    page = client.prompts.versions("hello", limit=2)
    assert [version.number for version in page] == [5, 4, 3, 2, 1]
    assert ["limit=2" in url for url in requested_paths] == [True] * 3
    assert [version.number for version in page.items] == [5, 4], "the page stays what it was"
    assert len(list(page)) == 5, "it can be gone through again"


def test_the_filter_goes_along(client: Client) -> None:
    for number in range(3):
        for label in ("a", "b"):
            client.prompts.create("hello", text=f"{label} {number}", labels=[label])
    moved = [change.version for change in client.prompts.label_history("hello", "b", limit=1)]
    assert moved == [6, 4, 2]


def test_a_page_is_fetched_only_when_it_is_needed(client: Client, requested_paths: list[str]) -> None:
    for name in ("a", "b", "c", "d"):
        client.prompts.create(name, text="x")
    requested_paths.clear()
    first = [prompt.name for prompt in itertools.islice(client.prompts.list(limit=2), 2)]
    assert (first, len(requested_paths)) == (["a", "b"], 1)


def test_an_empty_listing_is_an_empty_loop(client: Client) -> None:
    assert list(client.prompts.list()) == []
    with pytest.raises(PromptNotFound):
        client.prompts.versions("nothing")


def test_the_same_page_twice_is_equal_and_goes_over_the_wire_as_it_was(client: Client) -> None:
    for name in ("a", "b"):
        client.prompts.create(name, text="x")
    page = client.prompts.list(limit=1)
    assert page == client.prompts.list(limit=1)
    assert set(page.model_dump()) == {"items", "next_cursor"}


def test_a_page_of_the_server_does_not_end_silently(kernel: Kernel) -> None:
    with kernel.write(OWNER) as ctx:
        for text in ("one", "two"):
            service.create(ctx, PromptCreate(name="hello", text=text))
        page = service.list_versions(ctx, "hello", cursor=None, limit=1)
    assert isinstance(page, Page)
    loop = iter(page)
    assert next(loop).number == 2
    with pytest.raises(RuntimeError, match="came from no client"):
        next(loop)
