"""The source tree as the architecture tests see it."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "tidemill"

LAYERS = (
    ("cli", "client", "connection", "server", "demo", "testing"),
    ("governance", "storage"),
    ("pipelines",),
    ("monitors",),
    ("triggers",),
    ("drift", "slos", "kpis"),
    ("notifications",),
    ("rollouts",),
    ("deployments",),
    ("agents", "tuning", "releases"),
    ("evals", "rag", "guardrails"),
    ("engines", "gateway"),
    ("feedback",),
    ("traces",),
    ("data", "prompts", "registry"),
    ("access",),
    ("jobs",),
    ("core", "stats"),
)
"""From the top down: a layer may import those below it, never its own neighbours or those above."""

TOP = set(LAYERS[0])


@cache
def modules() -> dict[Path, ast.Module]:
    """Every module of the package with its syntax tree; migrations excepted."""
    paths = [p for p in sorted(PACKAGE.rglob("*.py")) if "migrations" not in p.parts]
    return {p: ast.parse(p.read_text(encoding="utf-8")) for p in paths}


def shown(path: Path) -> str:
    """A path as an error message names it."""
    return str(path.relative_to(ROOT))


def owner(path: Path) -> str:
    """The top-level name a module belongs to: `prompts`, `core`, `cli` ..."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full name of everything imported; `from a import b` gives `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function, methods and inner ones too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
