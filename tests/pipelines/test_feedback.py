"""Continuous tuning's rows: judged answers join the declared ones, capped, and never leak into an eval set."""

import pytest

from tests.pipelines.conftest import Desk, questions, small
from tests.releases.makers import add_model
from tests.traces.answers import answer, label, store, trace_id
from tidemill.core import lineage
from tidemill.core.actors import OWNER
from tidemill.data import service as data
from tidemill.feedback.service import give_feedback
from tidemill.feedback.types import Feedback
from tidemill.pipelines.types import RunDetail
from tidemill.releases import service as releases
from tidemill.releases.types import Release, ReleaseCreate

WORDS = ["amber", "birch", "cobalt", "delta", "ember", "fjord", "granite", "harbour", "island", "juniper"]


def taught(**feedback: object) -> dict[str, object]:
    document = small(model="tiny", tuning={"eval_split": "validation"}, release={"name": "hello"})
    document["data"]["split"] = {"ratios": {"train": 0.6, "validation": 0.1, "test": 0.3}, "seed": 3}
    document["data"]["feedback"] = {"per_user": 3, **feedback}
    return document


@pytest.fixture
def release(desk: Desk) -> Release:
    with desk.kernel.write(OWNER) as ctx:
        add_model(ctx, desk.folder)
        return releases.create_release(ctx, ReleaseCreate(name="hello", model="tiny"))


def judge(desk: Desk, release: Release, number: int, question: str, correction: str | None, **more: object) -> None:
    store(desk.kernel, answer(number, question, label("LOC"), release_id=release.id, **more))
    body = {"trace_id": trace_id(number), "correction": {"type": correction}} if correction else {
        "trace_id": trace_id(number), "thumbs": "up"}  # fmt: skip
    with desk.kernel.write(OWNER) as ctx:
        give_feedback(ctx, Feedback.model_validate(body))


def collected(desk: Desk, document: dict[str, object]) -> RunDetail:
    """The run up to the tuning, which the tiny model does not bear."""
    desk.pipelines.apply(desk.write(document))
    run = desk.turned()
    assert run.step("join").done, run.error
    assert run.step("tune").state == "failed"
    return run


def test_without_feedback_the_declared_rows_are_trained_on(desk: Desk, release: Release) -> None:
    run = collected(desk, taught())
    assert run.step("feedback").state == "unchanged"
    assert run.step("join").outputs["version_id"] == run.step("data").outputs["version_id"]


@pytest.mark.slow
def test_corrections_join_capped_and_without_what_the_eval_sets_ask(desk: Desk, release: Release) -> None:
    collected(desk, taught())
    measured = next(iter(desk_rows(desk, "questions", "test")))
    for number, word in enumerate(WORDS[:5]):
        judge(desk, release, number, f"Where does the {word} road lead to?", "HUM", user="eve")
    judge(desk, release, 10, f"Tell me of the {WORDS[6]} tower at night", "NUM", user="ann")
    judge(desk, release, 11, measured["text"], "NUM", user="bob")  # asked by the eval set
    judge(desk, release, 12, measured["text"] + "!", "NUM", user="cat")  # nearly
    judge(desk, release, 13, f"What of the {WORDS[7]} gate then", "ZZZ", user="dan")  # a label nobody declared
    judge(desk, release, 14, f"Nobody corrects the {WORDS[8]} answer", None, user="fay")  # praise only

    run = collected(desk, taught())
    feedback, joined = run.step("feedback"), run.step("join")
    assert feedback.outputs["quarantined"] >= 2  # eve's fourth and fifth
    assert {k: joined.outputs[k] for k in ("taught", "leaking", "label_unknown", "over_share")} == {
        "taught": 4, "leaking": 1, "label_unknown": 1, "over_share": 0}  # fmt: skip
    assert joined.outputs["ref"] == "questions-live@1"
    assert list(joined.outputs["rows"]) == ["train", "validation"]
    texts = {row["text"] for split in ("train", "validation") for row in desk_rows(desk, "questions-live", split)}
    assert sum("road lead to" in text for text in texts) == 3
    assert measured["text"] not in texts
    with desk.kernel.read(OWNER) as ctx:
        above = lineage.walk(ctx.conn, joined.outputs["version_id"], "up")
    kinds = {node.kind for node in above.nodes}
    assert {"trace_collection", "dataset_version", "file"} <= kinds

    again = collected(desk, taught())
    assert again.step("feedback").state == "unchanged"
    assert again.step("join").state == "cached"


@pytest.mark.slow
def test_few_new_judgements_wait_and_many_are_bounded_by_the_share(desk: Desk, release: Release) -> None:
    for number, word in enumerate(WORDS):
        judge(desk, release, number, f"Where does the {word} road lead to?", "HUM", user=f"user{number}")
    run = collected(desk, taught(minimum=11))
    assert run.step("feedback").state == "unchanged"
    assert "10 answers were judged since the last run; 11 are asked for" in run.step("feedback").note
    run = collected(desk, taught(share=0.1))
    counts = run.step("join").outputs
    assert counts["taught"] + counts["over_share"] == 10
    assert counts["taught"] == int((counts["rows"]["train"] + counts["rows"]["validation"] - counts["taught"]) / 9)


@pytest.mark.slow
def test_praise_teaches_only_when_that_is_asked_for(desk: Desk, release: Release) -> None:
    judge(desk, release, 1, f"Where does the {WORDS[0]} road lead to?", None, user="ann")
    assert collected(desk, taught()).step("join").outputs["taught"] == 0
    judge(desk, release, 2, f"Where does the {WORDS[1]} road lead to?", None, user="ann")
    assert collected(desk, taught(accept=0.5)).step("join").outputs["taught"] == 2


def desk_rows(desk: Desk, dataset: str, split: str) -> list[dict[str, str]]:
    with desk.kernel.read(OWNER) as ctx:
        version = data.get_version(ctx, dataset)
    return data.rows(desk.kernel, version, split).to_pylist()


def test_the_questions_of_the_tests_are_no_near_duplicates(desk: Desk) -> None:
    texts = [row["text"] for row in questions(60)]
    assert not any(data.find_leaking(desk.kernel, texts[30:], texts[:30]))
    assert data.find_leaking(desk.kernel, [texts[0] + "!", "else"], texts) == [True, False]
