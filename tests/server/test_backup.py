"""The guide's commands for backup and restore, as they stand there: everything answers in the other home."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source import ROOT
from tests.postgres import Postgres, find_binaries
from tidemill.client import Client
from tidemill.core.settings import Settings

GUIDE = ROOT / "docs" / "guides" / "operations.md"
CSV = "ticket,text,label\n" + "".join(f"T{n},words about matter {n * 7919} here,{'ab'[n % 2]}\n" for n in range(40))


def shell_lines(heading: str, beginning: str) -> str:
    """The lines of a chapter's shell blocks that begin so, such as `tar`."""
    chapter = GUIDE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    code = "\n".join(re.findall(r"^```bash\n(.*?)^```", chapter, re.DOTALL | re.MULTILINE))
    lines = [line for line in code.splitlines() if line.startswith(beginning)]
    assert lines, f"the guide has no {beginning} under {heading}"
    return lines[0]


def shell(line: str, folder: Path, home: Path, url: str | None = None) -> None:
    """Run a line of the guide as a person would."""
    path = f"{find_binaries()}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "TIDEMILL_HOME": str(home), "PYTHONPATH": str(ROOT / "src")}
    environment |= {} if url is None else {"PGURL": url.replace("+psycopg", ""), "TIDEMILL_DATABASE_URL": url}
    done = subprocess.run(["sh", "-ec", line], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def fill(client: Client, folder: Path) -> None:
    (folder / "tickets.csv").write_text(CSV)
    client.data.import_(folder / "tickets.csv", name="tickets", row_schema="classification")
    client.prompts.create("sort", text="Sort {{ticket}}")
    client.access.create_person("ana", ["developer"])
    client.notifiers.put("ops", kind="webhook", url="https://ops.example/hook")


def answers(client: Client) -> dict[str, object]:
    """What a home says of all that was put into it."""
    version = client.data.version("tickets")
    return {
        "version": version,
        "rows": list(client.data.rows("tickets")),
        "prompt": client.prompts.get("sort"),
        "people": client.access.people().items,
        "notifiers": client.notifiers.list().items,
        "jobs": [(job.id, job.state) for job in client.jobs.list().items],
        "audit": [(event.id, event.kind) for event in client.governance.audit(limit=200).items],
        "lineage": client.governance.lineage("tickets"),
    }


@pytest.mark.slow
def test_a_home_is_restored_from_its_backup(home: Path, tmp_path: Path) -> None:
    with Client(home=home, workers=True) as client:
        fill(client, tmp_path)
        before = answers(client)
    shell(shell_lines("Backup", "tar "), tmp_path, home)
    other = tmp_path / "other"
    for beginning in ("mkdir", "tar ", "tidemill doctor"):
        shell(shell_lines("Restore", beginning), tmp_path, other)
    with Client(home=other, workers=True) as client:
        assert answers(client) == before
        (tmp_path / "more.csv").write_text(CSV.replace("matter", "thing"))
        assert (
            client.data.import_(tmp_path / "more.csv", name="tickets", row_schema="classification").ref == "tickets@2"
        )
    with Client(home=home) as client:
        assert answers(client) == before


@pytest.mark.slow
def test_a_postgres_database_is_dumped_while_the_server_runs(
    home: Path, tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, restored_url = postgres.clone(), postgres.create()
    try:
        monkeypatch.setenv("TIDEMILL_DATABASE_URL", url)
        with Client(home=home, workers=True) as client:
            fill(client, tmp_path)
            before = answers(client)
            for beginning in ("pg_dump", "tar -C"):
                shell(shell_lines("Backup", beginning), tmp_path, home, url)
            client.prompts.create("later", text="Not in the dump.")
        other = tmp_path / "other"
        for beginning in ("mkdir", "tar ", "pg_restore", "tidemill doctor"):
            shell(shell_lines("Restore", beginning), tmp_path, other, restored_url)
        monkeypatch.setenv("TIDEMILL_DATABASE_URL", restored_url)
        with Client(home=other, workers=True) as client:
            assert Settings().sql_url == restored_url
            assert answers(client) == before
            assert [prompt.name for prompt in client.prompts.list().items] == ["sort"]
            (tmp_path / "more.csv").write_text(CSV.replace("matter", "thing"))
            version = client.data.import_(tmp_path / "more.csv", name="tickets", row_schema="classification")
            assert version.ref == "tickets@2"
    finally:
        postgres.drop(url)
        postgres.drop(restored_url)
