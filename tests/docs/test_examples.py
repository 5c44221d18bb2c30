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

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(path: Path, language: str) -> list[str]:
    """The code blocks of a page in one language, those marked `notest` left out."""
    found = _BLOCK.findall(path.read_text(encoding="utf-8"))
    return [code for kind, mark, code in found if kind == language and "notest" not in mark]


@pytest.mark.parametrize("path", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.stem)
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


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    missing = [name for name in Settings.model_fields if f"TIDEMILL_{name.upper()}`" not in page]
    assert not missing
