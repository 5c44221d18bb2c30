"""The kinds of audit events are known, so that a typing error is no empty list."""

import ast
from typing import Any

import pytest

from tests.architecture.source import modules
from tidemill.governance.event_kinds import EVENT_KINDS, check_kind
from tidemill.governance.types import EventKindUnknown


def recorded() -> set[str]:
    """The kinds that `emit` is called with: names, and the beginnings of those that end in a state."""
    kinds: set[str] = set()
    for tree in modules().values():
        texts = {
            name.id: value.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            for target in node.targets
            for name, value in _pairs(target, node.value)
            if isinstance(name, ast.Name) and isinstance(value, ast.Constant)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _is_emit(node) and len(node.args) > 1:
                kinds |= _kinds(node.args[1], texts)
    return kinds


def _pairs(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        return list(zip(target.elts, value.elts, strict=True))
    return [(target, value)]


def _is_emit(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Attribute) and node.func.attr == "emit"


def _kinds(argument: ast.expr, texts: dict[str, Any]) -> set[str]:
    if isinstance(argument, ast.Constant):
        return {str(argument.value)}
    if isinstance(argument, ast.IfExp):
        return _kinds(argument.body, texts) | _kinds(argument.orelse, texts)
    if isinstance(argument, ast.JoinedStr) and isinstance(argument.values[0], ast.Constant):
        return {str(argument.values[0].value)}
    if isinstance(argument, ast.Name) and argument.id in texts:
        return {texts[argument.id]}
    return set()


def test_every_kind_that_is_recorded_is_known() -> None:
    kinds = recorded()
    assert len(kinds) > 50
    unknown = {
        kind
        for kind in kinds
        if kind not in EVENT_KINDS and not (kind.endswith(".") and any(k.startswith(kind) for k in EVENT_KINDS))
    }
    assert not unknown, f"Name these in governance/event_kinds.py: {unknown}"


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("release.craeted", "release.created"),
        ("aproval.", "approval."),
        ("approval", "approval."),
        ("zzz", "Families: "),
        ("", "Families: "),
        ("größe", "Families: "),
    ],
)
def test_an_unknown_kind_names_the_nearest(kind: str, hint: str) -> None:
    with pytest.raises(EventKindUnknown) as caught:
        check_kind(kind)
    assert hint in caught.value.hint


def test_families_and_kinds_are_taken() -> None:
    kinds = ("approval.", "approval.approved", "rollout.rolled_back")
    assert [check_kind(kind) for kind in kinds] == [None, None, None]  # type: ignore[func-returns-value]
