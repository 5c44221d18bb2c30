"""The documentation runs: Python blocks are executed, and every command shown exists with its options."""

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.architecture.source import ROOT
from tidemill.cli import app
from tidemill.core.settings import Settings

CONTRIBUTING = ROOT / "CONTRIBUTING.md"
PAGES = [ROOT / "README.md", CONTRIBUTING, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(path: Path, language: str) -> list[str]:
    """The code blocks of a page in one language, those marked `notest` left out."""
    found = _BLOCK.findall(path.read_text(encoding="utf-8"))
    return [code for kind, mark, code in found if kind == language and "notest" not in mark]


JOBS = {"data", "pipelines"}
"""Pages whose examples wait for jobs, for which a server starts."""


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(p, id=p.stem, marks=[pytest.mark.slow] if p.stem in JOBS else [])
        for p in PAGES
        if blocks(p, "python")
    ],
)
def test_python_blocks_run(path: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {"__name__": "example"}
    for code in blocks(path, "python"):
        exec(compile(code, str(path), "exec"), scope)
    assert home.exists() or "Client" not in path.read_text(encoding="utf-8")


def commands(path: Path) -> list[str]:
    """Every `tidemill ...` line in the shell blocks, continuation lines joined."""
    lines: list[str] = []
    for code in blocks(path, "bash"):
        for line in code.replace("\\\n", " ").splitlines():
            text = line.split(" #")[0].strip()
            text = re.sub(r"^(\$ )?([A-Z_]+=\S+ )*(\.venv/bin/)?", "", text)
            if text.startswith("tidemill "):
                lines.append(text.split(" | ")[0].split(" > ")[0].rstrip("&").strip())
    return lines


@pytest.mark.parametrize("path", [p for p in PAGES if commands(p)], ids=lambda p: p.stem)
def test_shell_commands_exist_with_their_options(path: Path) -> None:
    wrong = [f"{line}: {why}" for line in commands(path) if (why := refused(line))]
    assert not wrong, "\n".join(wrong)


@cache
def _commands() -> Any:
    return typer.main.get_command(app)


def refused(line: str) -> str | None:
    """Why a command line could not be understood; None when it could."""
    command = _commands()
    words = shlex.split(line)[1:]
    while words and words[0].startswith("--"):
        words = words[1:]
    while getattr(command, "commands", None):
        if not words or words[0] not in command.commands:
            return None if not words or words[0] == "--help" else f"no command {words[0]!r}"
        command, words = command.commands[words[0]], words[1:]
    known = {name for p in command.params for name in [*p.opts, *p.secondary_opts]} | {"--help", "--json"}
    for word in words:
        name = word.split("=")[0]
        if name.startswith("--") and name not in known:
            return f"no option {name}"
    return None


def test_a_wrong_command_would_be_found() -> None:
    assert refused("tidemill prompts list") is None
    assert refused("tidemill prompts lost") == "no command 'lost'"
    assert refused("tidemill prompts list --colour red") == "no option --colour"


def shell_lines(path: Path) -> list[str]:
    """The lines of the shell blocks, without comments."""
    lines = (line.split(" #")[0].strip() for code in blocks(path, "bash") for line in code.splitlines())
    return [line for line in lines if line]


def test_make_has_every_target_that_is_shown() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    shown = {line.split()[1] for page in PAGES for line in shell_lines(page) if line.startswith("make ")}
    assert {"quick", "test", "check", "demo"} <= shown
    assert shown <= targets


def test_the_contributors_page_names_tests_and_files_that_exist() -> None:
    tests = [line.split()[-1] for line in shell_lines(CONTRIBUTING) if "bin/pytest" in line]
    assert tests
    for file, _, name in (test.partition("::") for test in tests):
        assert (ROOT / file).exists(), file
        assert not name or f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), name
    named = re.findall(r"`((?:src|tests|docs)/[\w/.]+)`", CONTRIBUTING.read_text(encoding="utf-8"))
    missing = [name for name in named if not (ROOT / name).exists()]
    assert named
    assert not missing


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    missing = [name for name in Settings.model_fields if f"TIDEMILL_{name.upper()}`" not in page]
    assert not missing
