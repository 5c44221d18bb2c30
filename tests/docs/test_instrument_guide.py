"""The guide's code for senders of traces: every block compiles, and each runs with the real library."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source import ROOT

GUIDE = ROOT / "docs" / "guides" / "instrument.md"
SENDERS = ["OpenTelemetry", "OpenInference (Phoenix)", "traceloop (OpenLLMetry)", "Logfire, pydantic-ai", "MLflow"]


def blocks(text: str) -> list[str]:
    """The Python blocks of a text, those marked `notest` too."""
    return re.findall(r"^```python[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def chapter(heading: str) -> str:
    return GUIDE.read_text(encoding="utf-8").partition(f"{heading}\n")[2].partition("\n##")[0]


def test_every_block_compiles() -> None:
    codes = blocks(GUIDE.read_text(encoding="utf-8"))
    assert len(codes) > len(SENDERS)
    for code in codes:
        compile(code, str(GUIDE), "exec")


def test_every_sender_has_its_package_and_its_import() -> None:
    for sender in SENDERS:
        text = chapter(f"### {sender}")
        assert "pip install" in text, sender
        assert re.search(r"^(from|import) ", blocks(text)[0], re.MULTILINE), sender


@pytest.mark.slow
@pytest.mark.parametrize("sender", SENDERS)
def test_the_lines_of_a_sender_run(sender: str, tmp_path: Path) -> None:
    # In a process of its own, for each of them changes the OpenAI client for good.
    codes = [blocks(chapter("## Senders"))[0], *blocks(chapter(f"### {sender}"))]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(codes) + "\nfrom openai import OpenAI\nOpenAI(api_key='x')\n"],
        cwd=tmp_path,
        env={"PATH": "", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
