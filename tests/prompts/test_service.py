"""Prompt versions and labels, on SQLite and on PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import ValidationError

from tidemill.core import events, lineage
from tidemill.core.actors import OWNER
from tidemill.core.kernel import Context, Kernel
from tidemill.prompts import service, template
from tidemill.prompts.types import (
    LabelMove,
    LabelReserved,
    Message,
    PromptCreate,
    PromptInvalid,
    PromptNotFound,
    PromptUnchanged,
    VariablesMissing,
)


def make(ctx: Context, text: str, name: str = "hello", **more: object):
    return service.create(ctx, PromptCreate.model_validate({"name": name, "text": text, **more}))


def test_versions_count_up_and_latest_follows(ctx: Context) -> None:
    first = make(ctx, "Say hello to {{name}}.")
    second = make(ctx, "Greet {{name}} in {{language}}.")
    assert (first.number, second.number) == (1, 2)
    assert second.variables == ["name", "language"]
    assert service.get(ctx, "hello").id == second.id
    assert service.get(ctx, "hello@latest").id == second.id
    assert service.get(ctx, "hello@1").labels == []
    assert service.get(ctx, first.id).text == "Say hello to {{name}}."


def test_an_unchanged_template_is_refused_and_names_the_version(ctx: Context) -> None:
    make(ctx, "Say hello.")
    with pytest.raises(PromptUnchanged) as caught:
        make(ctx, "Say hello.")
    assert caught.value.details == {"version": 1}


def test_a_label_moves_with_its_history(ctx: Context) -> None:
    make(ctx, "one", labels=["production"])
    make(ctx, "two")
    change = service.move_label(ctx, "hello", "production", LabelMove(version=2, note="better"))
    assert (change.before, change.version) == (1, 2)
    assert service.get(ctx, "hello@production").number == 2
    changes = service.list_label_changes(ctx, "hello", "production", cursor=None, limit=10).items
    assert [(c.before, c.version) for c in changes] == [(1, 2), (None, 1)]


def test_latest_cannot_be_moved(ctx: Context) -> None:
    make(ctx, "one")
    with pytest.raises(LabelReserved):
        service.move_label(ctx, "hello", "latest", LabelMove(version=1))


def test_rendering_fills_chat_messages_and_does_not_read_values_as_templates(ctx: Context) -> None:
    messages = [Message(role="system", content="Speak {{language}}."), Message(role="user", content="{{ question }}")]
    service.create(ctx, PromptCreate(name="chat", messages=messages))
    rendered = service.render(ctx, "chat", {"language": "Ελληνικά", "question": "{{language}}?"})
    assert rendered.messages == [
        Message(role="system", content="Speak Ελληνικά."),
        Message(role="user", content="{{language}}?"),
    ]
    with pytest.raises(VariablesMissing, match="question"):
        service.render(ctx, "chat", {"language": "x"})


def test_braces_around_something_else_are_refused(ctx: Context) -> None:
    with pytest.raises(PromptInvalid, match="user name"):
        make(ctx, "Hello {{user name}}")


def test_an_unknown_prompt_names_the_nearest(ctx: Context) -> None:
    make(ctx, "one", name="greeting")
    with pytest.raises(PromptNotFound) as caught:
        service.get(ctx, "greetin")
    assert caught.value.hint is not None
    assert "greeting" in caught.value.hint


@pytest.mark.parametrize("which", ["9", "staging"])
def test_an_unknown_version_of_a_known_prompt_is_said_as_that(ctx: Context, which: str) -> None:
    make(ctx, "one")
    with pytest.raises(PromptNotFound, match=f"hello has no version or label '{which}'") as caught:
        service.get(ctx, f"hello@{which}")
    assert "hello@1" in str(caught.value.hint)


def test_a_diff_shows_lines_and_variables(ctx: Context) -> None:
    make(ctx, "Hello {{a}}")
    make(ctx, "Hello {{b}}")
    difference = service.diff(ctx, "hello", "1", "latest")
    assert "-Hello {{a}}" in difference.lines
    assert (difference.variables_added, difference.variables_removed) == (["b"], ["a"])


def test_listings_come_in_pages(ctx: Context) -> None:
    for name in ("a", "b", "c"):
        make(ctx, "x", name=name)
    first = service.list_prompts(ctx, cursor=None, limit=2)
    rest = service.list_prompts(ctx, cursor=first.next_cursor, limit=2)
    assert [p.name for p in first.items + rest.items] == ["a", "b", "c"]
    assert rest.next_cursor is None
    for number in range(2, 5):
        make(ctx, f"x{number}", name="a")
    top = service.list_versions(ctx, "a", cursor=None, limit=3)
    end = service.list_versions(ctx, "a", cursor=top.next_cursor, limit=3)
    assert [v.number for v in top.items + end.items] == [4, 3, 2, 1]


def test_versions_leave_facts_and_lineage(ctx: Context) -> None:
    first, second = make(ctx, "one"), make(ctx, "two")
    facts = events.list_events(ctx.conn, kind="prompt.", subject=second.id)
    assert [f.kind for f in facts] == ["prompt.created"]
    graph = lineage.walk(ctx.conn, second.id, "up")
    assert graph is not None
    assert {n.label for n in graph.nodes} == {"hello@1", "hello@2"}
    assert [(e.child_id, e.parent_id) for e in graph.edges] == [(second.id, first.id)]


def test_versions_that_are_saved_at_once_count_up_too(kernel: Kernel) -> None:
    def one(number: int) -> int:
        with kernel.write(OWNER) as ctx:
            return make(ctx, f"Say {number}.", labels=["newest"]).number

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(one, range(6))) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("echo ${{{{ github.ref }}}} for {{name}}", "echo ${{ github.ref }} for Ada"),
        ("\\frac{{{{a}}}}{{{{b}}}}", "\\frac{{a}}{{b}}"),
        ('{{{{"kind": {"of": "{{name}}"}}}}}', '{{"kind": {"of": "{{name}}"}}}'),
        ('{"a": {"b": {"c": {"d": 1}}}} {{name}}', '{"a": {"b": {"c": {"d": 1}}}} Ada'),
    ],
)
def test_four_braces_are_two_in_the_text(ctx: Context, text: str, rendered: str) -> None:
    make(ctx, text)
    assert service.render(ctx, "hello", {"name": "Ada"}).text == rendered


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("echo ${{ github.ref }}", "write {{{{ github.ref }}}}."),
        ('Answer like {{"kind": "HUM"}}.', 'single braces: {"kind": "HUM"}'),
    ],
)
def test_the_error_about_braces_names_the_escape(ctx: Context, text: str, hint: str) -> None:
    with pytest.raises(PromptInvalid) as caught:
        make(ctx, text)
    assert hint in (caught.value.hint or "")


def test_a_number_is_no_label(ctx: Context) -> None:
    make(ctx, "one")
    make(ctx, "two")
    with pytest.raises(LabelReserved, match="already means a version"):
        service.move_label(ctx, "hello", "1", LabelMove(version=2))
    assert service.get(ctx, "hello@1").text == "one"


@pytest.mark.parametrize("text", ["{" * 200_000, "{{ {" * 50_000, "{{" + " " * 199_990])
def test_braces_without_end_are_read_in_linear_time(text: str) -> None:
    assert template.variables([text]) == []
    assert template.fill(text, {}) == text


def test_a_long_text_in_braces_is_not_repeated_whole() -> None:
    with pytest.raises(PromptInvalid) as caught:
        template.variables(["{{" + "a b" * 60_000 + "}}", "{{{{a}}" * 28_000])
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("text", "filled"),
    [("{{{{a}}}} {{a}}", "{{a}} 1"), ("{{{{a}}}}}", "{{a}}}"), ("{{{{ {{a}} }}}}", "{{ {{a}} }}"), ("a}}{{", "a}}{{")],
)
def test_four_braces_are_two(text: str, filled: str) -> None:
    assert template.fill(text, {"a": "1"}) == filled


def test_a_prompt_of_any_length_is_refused(ctx: Context) -> None:
    with pytest.raises(ValidationError, match="at most 200,000 characters, and this one has 200,002"):
        PromptCreate(name="long", messages=[Message(role="user", content="x" * 100_001)] * 2)
    assert make(ctx, "x" * 200_000).number == 1
