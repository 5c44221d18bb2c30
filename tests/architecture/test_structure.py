"""Where things stand: folders, names, sizes, and who may import whom."""

import ast
import sys

from tests.architecture.source import LAYERS, PACKAGE, ROOT, TOP, functions, imports, modules, owner, shown

FIXED = {"types.py", "store.py", "service.py", "routes.py", "sdk.py", "cli.py"}
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "base", "misc", "tools"}
STORELESS = {"governance", "gateway"}
"""Governance reads what others record; the gateway's calls are spans in the traces."""
UNSEEN = {"engines"}
"""No route, command or row of its own: deployments show the engines, and what runs is rebuilt at every start."""
PUBLIC_MODULES = {
    "jobs": {"cli", "compute", "context", "kinds", "sdk"},
    # `tidemill monitors check` shows what each kind found, as the feature's own command does.
    "drift": {"cli", "sdk"},
    "kpis": {"cli"},
    "slos": {"cli", "sdk"},
    # Receivers of webhooks were told to import `verify` from `monitors`.
    "notifications": {"channels"},
    "feedback": {"collections", "targets"},
    "traces": {"cli", "sdk"},
    "deployments": {"assignment", "promotion", "retirements"},
    "engines": {"pool", "replica", "supervisor"},
}
"""What other features may import beside `types` and `service`."""
DATABASE_DRIVERS = {"src/tidemill/jobs/durable.py", "src/tidemill/jobs/runner.py"}
"""They open the step log's own database and tell a lost connection from a fault, and hold no SQL."""
LINES, FUNCTION_LINES, TEST_LINES = 400, 60, 800


def test_every_folder_has_its_place_in_the_layers() -> None:
    known = {name for layer in LAYERS for name in layer}
    found = {owner(p) for p in modules()} - {"__init__", "__main__"}
    assert found <= known, f"Put {sorted(found - known)} into LAYERS in tests/architecture/source.py, and say why."


def test_every_feature_has_its_fixed_files() -> None:
    missing = []
    for folder in sorted(p for p in PACKAGE.iterdir() if p.is_dir() and (p / "__init__.py").exists()):
        if folder.name in TOP | set(LAYERS[-1]):
            continue
        names = {p.name for p in folder.iterdir()} | {f"{p.name}.py" for p in folder.iterdir() if p.is_dir()}
        needed = FIXED - {"store.py"} if folder.name in STORELESS else FIXED
        needed = {"types.py"} if folder.name in UNSEEN else needed
        missing += [f"{folder.name}/{name}" for name in sorted(needed - names)]
    assert not missing, f"A feature has the same files as the others. Missing: {missing}"


def test_imports_go_down_only() -> None:
    level = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    wrong = []
    for path, tree in modules().items():
        here = owner(path)
        if here not in level:
            continue
        for line, name in imports(tree):
            parts = name.split(".")
            if parts[0] != "tidemill" or len(parts) < 2 or parts[1] not in level or parts[1] == here:
                continue
            if level[parts[1]] < level[here] or (level[parts[1]] == level[here] and here not in TOP):
                wrong.append(f"{shown(path)}:{line} imports {name}")
    assert not wrong, "Imports go down only; send a fact (core.events) or a name (core.plugins) up:\n" + "\n".join(
        wrong
    )


def test_the_statistics_need_numpy_and_scipy_only() -> None:
    wrong = [
        f"{shown(path)}:{line} imports {name}"
        for path, tree in modules().items()
        if owner(path) == "stats"
        for line, name in imports(tree)
        if name.split(".")[0] not in sys.stdlib_module_names | {"numpy", "scipy"}
        and not name.startswith("tidemill.stats.")
    ]
    assert not wrong, "Statistics take arrays and know no feature; keep the rest with who calls them:\n" + "\n".join(
        wrong
    )


def test_other_features_are_used_through_types_and_service_only() -> None:
    features = {name for layer in LAYERS[1:-1] for name in layer}
    wrong = []
    for path, tree in modules().items():
        here = owner(path)
        if here in TOP or here not in features:
            continue
        for line, name in imports(tree):
            parts = name.split(".")
            other = parts[1] if parts[0] == "tidemill" and len(parts) > 2 else ""
            if (
                other in features
                and other != here
                and parts[2] not in {"types", "service"} | PUBLIC_MODULES.get(other, set())
            ):
                wrong.append(f"{shown(path)}:{line} imports {name}")
    assert not wrong, (
        "Use another feature's `types` and `service`, or add to PUBLIC_MODULES and say why:\n" + "\n".join(wrong)
    )


def test_no_import_of_our_own_inside_a_function() -> None:
    wrong = [
        f"{shown(path)}:{line} imports {name}"
        for path, tree in modules().items()
        for function in functions(tree)
        for line, name in imports(function)
        if name.startswith("tidemill")
    ]
    assert not wrong, "Move the import to the top of the module:\n" + "\n".join(wrong)


def test_sql_stands_in_stores_only() -> None:
    wrong = [
        f"{shown(path)}:{line}"
        for path, tree in modules().items()
        if owner(path) != "core"
        and shown(path) not in DATABASE_DRIVERS
        and path.name != "store.py"
        and path.parent.name != "store"
        for line, name in imports(tree)
        if name.split(".")[0] in {"sqlalchemy", "sqlite3", "psycopg", "apsw"}
    ]
    assert not wrong, "Write the query as a function in the feature's store.py:\n" + "\n".join(wrong)


def test_nobody_commits_but_the_edge() -> None:
    wrong = [
        f"{shown(path)}:{node.lineno}"
        for path, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "commit"
    ]
    assert not wrong, "A request or a step is one transaction, committed by Kernel.work:\n" + "\n".join(wrong)


def test_the_environment_is_read_in_settings_only() -> None:
    wrong = [
        f"{shown(path)}:{node.lineno}"
        for path, tree in modules().items()
        # `imports` sets a variable for the libraries that it loads, and takes it back.
        if shown(path) not in {"src/tidemill/core/settings.py", "src/tidemill/core/imports.py"}
        for setting in [_settings_for_children(tree)]
        for node in ast.walk(tree)
        if id(node) not in setting
        and isinstance(node, ast.Attribute)
        and node.attr in {"environ", "getenv"}
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    ]
    assert not wrong, "Add a setting to core/settings.py instead:\n" + "\n".join(wrong)


def _settings_for_children(tree: ast.Module) -> set[int]:
    """`os.environ` in `os.environ.setdefault(...)`: a process tells the libraries it loads, and reads nothing."""
    found = (n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr == "setdefault")
    return {id(n.value) for n in found}


def test_http_exceptions_are_not_raised() -> None:
    wrong = [
        f"{shown(path)}:{line}"
        for path, tree in modules().items()
        if shown(path) != "src/tidemill/server/error_responses.py"
        for line, name in imports(tree)
        if name.endswith(".HTTPException")
    ]
    assert not wrong, "Raise an error of the tree in core/errors.py:\n" + "\n".join(wrong)


def test_modules_and_functions_keep_their_budget() -> None:
    wrong = []
    for path, tree in modules().items():
        count = len(path.read_text(encoding="utf-8").splitlines())
        if count > LINES:
            wrong.append(f"{shown(path)} has {count} lines (at most {LINES}): make it a package")
        for function in functions(tree):
            length = (function.end_lineno or function.lineno) - function.lineno + 1
            if length > FUNCTION_LINES:
                wrong.append(f"{shown(path)}:{function.lineno} {function.name} has {length} lines")
    for path in (ROOT / "tests").rglob("*.py"):
        count = len(path.read_text(encoding="utf-8").splitlines())
        if count > TEST_LINES:
            wrong.append(f"{shown(path)} has {count} lines (at most {TEST_LINES})")
    assert not wrong, "\n".join(wrong)


def test_modules_are_named_after_what_they_hold() -> None:
    wrong = [
        shown(path)
        for path in modules()
        if path.stem in BANNED_NAMES or (path.stem != path.parent.name and path.stem.startswith(f"{path.parent.name}_"))
    ]
    assert not wrong, f"Name the module after what it holds, without the folder's own name: {wrong}"


def test_everything_public_says_what_it_is_for() -> None:
    wrong = []
    for path, tree in modules().items():
        if not ast.get_docstring(tree):
            wrong.append(shown(path))
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith(
                "_"
            ):
                inner = node.body if isinstance(node, ast.ClassDef) else []
                methods = [n for n in inner if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
                for item in (node, *(m for m in methods if not m.name.startswith("_"))):
                    if not ast.get_docstring(item):
                        wrong.append(f"{shown(path)}:{item.lineno} {item.name}")
    assert not wrong, "One sentence saying what it is for:\n" + "\n".join(wrong)


def test_every_test_can_fail() -> None:
    words = ("assert", "raises", "expect(", "check(", "warns", "fail(")
    wrong = [
        f"{shown(path)}:{node.lineno} {node.name}"
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in functions(ast.parse(path.read_text(encoding="utf-8")))
        if node.name.startswith("test") and not any(word in ast.unparse(node) for word in words)
    ]
    assert not wrong, "These tests assert nothing:\n" + "\n".join(wrong)
