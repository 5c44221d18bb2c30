"""What the command line keeps out of its own imports, foreign code gets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CASE = """
import os

def test_it():
    import httpx
    import httpx._main

    assert "PYDANTIC_DISABLE_PLUGINS" not in os.environ
    assert httpx.main is httpx._main.main
"""


def run(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYDANTIC_DISABLE_PLUGINS"}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=kept | env)


@pytest.mark.slow
def test_tests_of_users_find_the_process_as_it_was(tmp_path: Path, home: Path) -> None:
    (tmp_path / "test_case.py").write_text(CASE, encoding="utf-8")
    done = run("-m", "tidemill", "test", "test_case.py", cwd=tmp_path, TIDEMILL_HOME=str(home))
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_what_was_set_is_taken_back(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from tidemill.core import imports\n"
        "from tidemill.core.settings import Settings\n"
        "imports.spare_imports()\n"
        "assert sys.modules['httpx._main'] is None\n"
        "print(os.environ['PYDANTIC_DISABLE_PLUGINS'])\n"
        "print(Settings().child_environment().get('PYDANTIC_DISABLE_PLUGINS'))\n"
        "imports.restore_imports(); imports.restore_imports()\n"
        "assert 'httpx._main' not in sys.modules\n"
        "print(os.environ.get('PYDANTIC_DISABLE_PLUGINS'))\n"
    )
    assert run("-c", code, cwd=tmp_path).stdout.split() == ["__all__", "None", "None"]
    own = run("-c", code, cwd=tmp_path, PYDANTIC_DISABLE_PLUGINS="logfire-plugin").stdout.split()
    assert own == ["logfire-plugin"] * 3, "the user's own choice stays"
