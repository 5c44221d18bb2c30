"""What every command does alike: plain errors, `--json` at any place, names taken as they are."""

import json
import sys
from pathlib import Path

import pytest

from tidemill import cli
from tidemill.client import Client
from tidemill.core.blobs import BlobMissing
from tidemill.core.http import NameMissing
from tidemill.prompts.types import PromptNotFound


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["tidemill", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_json_may_stand_anywhere(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "prompts", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"items": [], "next_cursor": None}
    assert run(monkeypatch, "prompts", "show", "nope", "--json") == 1
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "prompt_not_found"
    assert run(monkeypatch, "prompts", "show", "--", "--json") == 1
    assert "[prompt_not_found]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "value", "words", "said"),
    [
        ("TIDEMILL_PORT", "abc", ["prompts", "list"], "TIDEMILL_PORT: "),
        ("TIDEMILL_HOME", "/dev/null", ["prompts", "list"], "[file_refused]"),
        ("TIDEMILL_THREADS", "2", ["access", "add", "A B"], "[value_unfit]"),
    ],
)
def test_what_does_not_fit_is_one_line(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
    words: list[str],
    said: str,
) -> None:
    monkeypatch.setenv(variable, value)
    assert run(monkeypatch, *words) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("ask", "m", "q", "--temperature=9"), "'--temperature': must be at most 2"),
        (("ask", "m", "q", "--temperature=nan"), "'--temperature': must be at most 2"),
        (("ask", "m", "q", "--max-tokens=0"), "'--max-tokens': must be at least 1"),
        (("ask", "m", "q", "--temperature=warm"), "'--temperature': 'warm' is no number"),
        (
            ("releases", "create", "r", "--model=m", "--temperature=9"),
            "--temperature: must be at most 2.0 (it is 9.0).",
        ),
        (("prompts", "list", "--limit=x"), "'--limit': 'x' is no whole number"),
    ],
)
def test_what_an_option_must_be_is_a_sentence(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    sentence: str,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run(monkeypatch, *words) in (1, 2)
    error = capsys.readouterr().err
    assert sentence in error
    assert "Input should be" not in error


def test_a_name_is_never_a_query_or_another_route(home: Path) -> None:
    with Client() as client:
        client.prompts.create("hello", text="hi")
        with pytest.raises(PromptNotFound):
            client.prompts.get("hello?x=1")
        with pytest.raises(NameMissing):
            client.prompts.get("")


def test_a_failed_download_leaves_the_file_as_it_was(home: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.txt"
    kept.write_text("mine")
    with Client() as client, pytest.raises(BlobMissing):
        client.blobs.get("sha256:" + "0" * 64, kept)
    assert kept.read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir() if p.name != "home"] == ["kept.txt"]
