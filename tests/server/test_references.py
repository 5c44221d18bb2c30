"""A number in a reference or a cursor that cannot be is the caller's fault, whatever stands there."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.releases.makers import declare, make_release, make_run, make_set
from tests.traffic import pipeline
from tidemill.core.errors import TidemillError
from tidemill.core.kernel import Context
from tidemill.core.parsing import parse_number
from tidemill.core.wire import new_id
from tidemill.data import service as data
from tidemill.data import store as dataset_rows
from tidemill.data.types import Catalogue, Dataset
from tidemill.evals import service as evals
from tidemill.pipelines import apply as pipelines
from tidemill.pipelines import service as runs
from tidemill.prompts import service as prompts
from tidemill.prompts.types import PromptCreate
from tidemill.registry import service as models
from tidemill.releases import service as releases

ODD = ["9" * 5000, "9" * 10, "1" * 19, "-1", "1.0", "²", "1e3", "x", "0x1"]

LOOKUPS: dict[str, Callable[[Context, str], object]] = {
    "dataset": lambda ctx, odd: data.get_version(ctx, f"trec@{odd}"),
    "prompt": lambda ctx, odd: prompts.get(ctx, f"greet@{odd}"),
    "model": lambda ctx, odd: models.get_version(ctx, f"tiny@{odd}"),
    "release": lambda ctx, odd: releases.get_release(ctx, f"hello@{odd}"),
    "gate": lambda ctx, odd: releases.get_gate(ctx, f"quality@{odd}"),
    "eval set": lambda ctx, odd: evals.get_set(ctx, f"questions@{odd}"),
    "pipeline": lambda ctx, odd: pipelines.get(ctx, f"support@{odd}"),
    "run": lambda ctx, odd: runs.get_run(ctx, f"support#{odd}"),
    "items": lambda ctx, odd: evals.list_items(ctx, "questions", cursor=odd),
    "results": lambda ctx, odd: evals.list_results(
        ctx, evals.list_runs(ctx, cursor=None, limit=1).items[0].id, cursor=odd
    ),
}


@pytest.fixture
def filled(ctx: Context, tmp_path: Path) -> Context:
    """One of everything that a reference may name."""
    make_release(ctx, tmp_path)
    eval_set = make_set(ctx)
    make_run(ctx, eval_set, 100)
    declare(ctx, eval_set)
    pipeline(ctx)
    prompts.create(ctx, PromptCreate(name="greet", text="Hi."))
    times = {"created_at": ctx.now, "created_by": "anna"}
    dataset = Dataset(id=new_id("ds"), name="trec", row_schema="chat", catalogue=Catalogue(), latest=0, **times)
    dataset_rows.insert_dataset(ctx.conn, dataset)
    return ctx


@pytest.mark.parametrize("kind", LOOKUPS)
def test_a_number_that_cannot_be_is_refused(filled: Context, kind: str) -> None:
    for odd in ODD:
        with pytest.raises(TidemillError) as caught:
            LOOKUPS[kind](filled, odd)
        assert caught.value.status in (400, 404, 422), (kind, odd[:20])


def test_a_number_is_a_few_digits() -> None:
    assert [parse_number(text) for text in ("3", "0", "007", "999999999", "٣")] == [3, 0, 7, 999_999_999, 3]
    assert [parse_number(odd) for odd in ["", " 3", "+3", *ODD]] == [None] * (3 + len(ODD))
