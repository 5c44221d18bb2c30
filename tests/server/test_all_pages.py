"""What means all of a listing walks all of its pages: no page stands for all."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.architecture.source import ROOT
from tests.deployments.test_service import live
from tests.releases.makers import add_model, make_release
from tests.releases.test_approvals import ask, decide
from tidemill.cli import app
from tidemill.core import wire
from tidemill.core.actors import OWNER
from tidemill.core.kernel import Context
from tidemill.core.settings import Settings
from tidemill.core.wire import Page, iterate_pages
from tidemill.deployments import models
from tidemill.releases import service as releases
from tidemill.server.app import build_kernel
from tidemill.tuning.training_data import find_trainable, trainable_name


def test_no_page_stands_for_all() -> None:
    paged = re.compile(r"limit=(?:\d{3,}|_?MAX\w*)\)\.items")
    wrong = [str(path) for path in sorted((ROOT / "src").rglob("*.py")) if paged.search(path.read_text("utf-8"))]
    assert not wrong, f"Iterate over the page, or use iterate_pages: {wrong}"


def test_pages_are_walked_to_the_end_and_only_as_far_as_they_are_read() -> None:
    asked: list[tuple[str | None, int]] = []

    def list_page(cursor: str | None, limit: int) -> Page[int]:
        asked.append((cursor, limit))
        start = int(cursor or 0)
        return Page(items=list(range(start, start + 3)), next_cursor=str(start + 3) if start < 6 else None)

    assert list(iterate_pages(list_page)) == list(range(9))
    assert asked == [(None, wire.MAX_PAGE), ("3", wire.MAX_PAGE), ("6", wire.MAX_PAGE)]
    asked.clear()
    assert next(iterate_pages(list_page)) == 0
    assert len(asked) == 1


@pytest.fixture
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_PAGE", 2)


@pytest.mark.usefixtures("_small_pages")
def test_every_release_and_model_can_be_asked_for(ctx: Context, tmp_path: Path) -> None:
    for number in range(5):
        make_release(ctx, tmp_path, f"hello-{number}")
        add_model(ctx, tmp_path, seed=number, name=f"tiny-{number}")
    names = {card.id for card in models.list_cards(ctx)}
    assert {f"hello-{n}@1" for n in range(5)} | {f"tiny-{n}@1" for n in range(5)} <= names


@pytest.mark.usefixtures("_small_pages")
def test_the_trainable_form_is_known_however_many_models_there_are(ctx: Context, tmp_path: Path) -> None:
    base = add_model(ctx, tmp_path, seed=1, name="base")
    name = trainable_name("base")
    parents = [{"version": base.ref, "relation": "converted_from"}]
    first = add_model(ctx, tmp_path, seed=10, name=name, parents=parents)
    for number in range(11, 16):
        add_model(ctx, tmp_path, seed=number, name=name)
    trainable = find_trainable(ctx, base)
    assert trainable is not None
    assert trainable.id == first.id


@pytest.mark.usefixtures("_small_pages")
def test_the_evidence_page_has_every_approval(ctx: Context, tmp_path: Path) -> None:
    make_release(ctx, tmp_path)
    ids = [decide(ctx, ask(ctx), "reject").id for _ in range(5)]
    page = releases.render_evidence(ctx, "hello").markdown
    assert [approval for approval in ids if approval not in page] == []


def test_the_command_line_shows_all_that_is_deployed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.deployments.cli.MAX_PAGE", 2)
    kernel = build_kernel(Settings(home=home))
    with kernel.write(OWNER) as ctx:
        for number in range(5):
            make_release(ctx, tmp_path, f"hello-{number}")
            live(ctx, f"hello-{number}")
    kernel.close()
    for command in (["deployments", "list"], ["environments"]):
        result = CliRunner().invoke(app, command, env={"COLUMNS": "400"})
        assert [n for n in range(5) if f"hello-{n}" not in result.output] == [], result.output
