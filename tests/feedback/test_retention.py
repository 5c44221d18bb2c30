"""Scores go with the days of their spans."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.traces.makers import SECOND, call, write
from tidemill.core.actors import OWNER
from tidemill.core.settings import Settings
from tidemill.feedback import service as feedback
from tidemill.feedback.types import Feedback
from tidemill.server.app import build_kernel
from tidemill.traces import service as traces


@pytest.mark.parametrize("keep", [False, True])
def test_the_scores_of_a_day_go_with_it_unless_they_are_kept(home: Path, database_url: str, keep: bool) -> None:
    url = None if database_url.startswith("sqlite") else database_url
    kernel = build_kernel(Settings(home=home, database_url=url, trace_keep_scores=keep))
    today = int(datetime.now(UTC).timestamp()) * SECOND
    for days_ago in (0, 100):
        write(kernel, call(days_ago + 1, trace=days_ago + 1, start=today - days_ago * 86_400 * SECOND))
        with kernel.write(OWNER) as ctx:
            feedback.give_feedback(ctx, Feedback(trace_id=f"{days_ago + 1:032x}", thumbs="up"))
    traces.prune(kernel, OWNER)
    with kernel.read(OWNER) as ctx:
        assert len(feedback.list_scores(ctx)) == 1 + keep
    kernel.close()
