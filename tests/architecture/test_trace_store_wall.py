"""The trace store is used through its public face only."""

import ast

import tidemill.traces.store as trace_store
from tests.architecture.source import PACKAGE, imports, modules, shown
from tidemill.traces.store import TraceStore

STORE = PACKAGE / "traces" / "store"
NAME = "tidemill.traces.store"
UNTYPED = ("Any", "object", "Row")


def public_methods() -> list[ast.FunctionDef]:
    """The methods of TraceStore that anybody may call."""
    tree = modules()[STORE / "trace_store.py"]
    (store,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == TraceStore.__name__)
    return [node for node in store.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]


def test_nothing_outside_imports_the_inner_modules_of_the_trace_store() -> None:
    public = {f"{NAME}.{name}" for name in trace_store.__all__}
    wrong = [
        f"{shown(path)}:{line} imports {name}"
        for path, tree in modules().items()
        if not path.is_relative_to(STORE)
        for line, name in imports(tree)
        if name.startswith(f"{NAME}.") and name not in public
    ]
    assert not wrong, f"Use what {NAME} exports, or give TraceStore a method:\n" + "\n".join(wrong)


def test_nothing_outside_reads_the_days_of_the_trace_store() -> None:
    wrong = [
        f"{shown(path)}:{node.lineno}"
        for path, tree in modules().items()
        if path.is_relative_to(PACKAGE / "traces") and not path.is_relative_to(STORE)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in {"read", "write", "list_days", "remove", "reclaim"}
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "days"
    ]
    assert not wrong, "`store.days` is for the store and its tests; give TraceStore a method:\n" + "\n".join(wrong)


def test_what_the_trace_store_gives_out_is_typed() -> None:
    methods = public_methods()
    assert {"write", "get_trace", "list_traces", "erase_day"} <= {method.name for method in methods}
    wrong = []
    for method in methods:
        assert method.returns is not None
        annotations = [argument.annotation for argument in (*method.args.args[1:], *method.args.kwonlyargs)]
        names = {
            node.id
            for annotation in (method.returns, *annotations)
            if annotation is not None
            for node in ast.walk(annotation)
            if isinstance(node, ast.Name)
        }
        wrong += [f"{method.name}: {name}" for name in UNTYPED if name in names]
    assert not wrong, f"Give and take frozen values of traces.types, not rows: {wrong}"


def test_the_docstring_of_the_trace_store_names_every_method() -> None:
    assert trace_store.__doc__ is not None
    missing = [method.name for method in public_methods() if f"store.{method.name}(" not in trace_store.__doc__]
    assert missing in ([], ["close"]), f"Name these in the docstring of {NAME}: {missing}"
