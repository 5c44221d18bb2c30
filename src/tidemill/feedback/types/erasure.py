"""What is stored of one user, and the record of its erasure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from tidemill.core.wire import Instant, Value

if TYPE_CHECKING:
    from tidemill.core.kernel import Context


@dataclass(frozen=True)
class ShadowCopyIndex:
    """The copies of responses that features above keep, such as shadow copies. Registered with the kernel.

    `count` returns how many they keep of the responses with these ids; `delete` removes these and returns how many.
    """

    count: Callable[["Context", Sequence[str]], int]
    delete: Callable[["Context", Sequence[str]], int]


class Footprint(Value):
    """What is stored of one user."""

    traces: int = Field(description="Whole traces: the spans around a span repeat its content.")
    spans: int
    scores: int = Field(description="Judgements of their answers, and those that they gave.")
    answers: int = Field(description="Their answers in collections for datasets.")
    copies: int = Field(description="Their calls that rollouts keep as shadow copies.")
    days: list[str] = Field(description="Days of traces that hold something of theirs.")
    datasets: list[str] = Field(description="Dataset versions made of their answers. They are named, and not changed.")
    models: list[str] = Field(description="Model versions trained on these. They are named, and not changed.")


class Erasure(Footprint):
    """What was erased, when and by whom. The user is known by a hash alone."""

    id: str
    user_hash: str = Field(description="SHA-256 of the user's name, in hexadecimal digits.")
    began_at: Instant
    finished_at: Instant | None = Field(description="Null: it was broken off. Erase again; that does the rest.")
    by: str
