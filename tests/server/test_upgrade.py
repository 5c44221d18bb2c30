"""A home that 0.1.0 made: the first start brings it up to date, everything answers, and work goes on.

The archives in `homes` were made with the code of 0.1.0: a dataset of forty rows, a prompt with two versions, a person,
a notifier, an eval set with a finished run of Naive Bayes, and the trace of one call.
"""

import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.postgres import Postgres
from tidemill.client import Client

HOMES = Path(__file__).parent / "homes"
TRACE = "0af7651916cd43dd8448eb211c80319c"


def check_all_is_there(client: Client, folder: Path) -> None:
    assert [row["label"] for row in client.data.rows("tickets")].count("a") == 20
    assert client.prompts.get("sort").text == "Sort it: {{ticket}}"
    assert client.prompts.get("sort@1").text == "Sort {{ticket}}"
    assert client.access.people().items[0].name == "ana"
    assert client.notifiers.list().items[0].name == "ops"
    run = client.evals.runs().items[0]
    assert run.state == "succeeded"
    assert run.metric("label_accuracy").mean == 1.0  # type: ignore[union-attr]
    trace = client.traces.list(since=client.traces.list().items[0].start).items[0]
    assert (trace.trace_id, trace.model, trace.user, trace.input_tokens) == (TRACE, "gpt-4o", "ada", 12)
    assert {job.state for job in client.jobs.list().items} == {"succeeded"}
    assert client.governance.lineage("tickets").node.label == "tickets@1"
    # New work on old things.
    again = client.evals.run("quiz", {"dataset": "tickets@1", "split": "train"}, ["label_accuracy"])
    assert client.evals.wait(again.id).state == "succeeded"
    (folder / "more.csv").write_text(
        "text,label\n" + "".join(f"other words {n * 7919},{'ab'[n % 2]}\n" for n in range(9))
    )
    assert client.data.import_(folder / "more.csv", name="tickets", row_schema="classification").ref == "tickets@2"


@pytest.mark.slow
def test_a_home_of_the_release_before_goes_on(home: Path, tmp_path: Path) -> None:
    with tarfile.open(HOMES / "sqlite-0.1.0.tar.gz") as archive:
        archive.extractall(home, filter="data")
    with Client(home=home, workers=True) as client:
        check_all_is_there(client, tmp_path)
        assert client.prompts.create("sort", text="Now: {{ticket}}").number == 3


@pytest.mark.slow
def test_a_postgres_database_of_the_release_before_goes_on(
    home: Path, tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tarfile.open(HOMES / "postgres-0.1.0.tar.gz") as archive:
        archive.extractall(home, filter="data")
    url = postgres.create()
    try:
        plain_url = url.replace("+psycopg", "")
        argv = [
            postgres.binaries / "psql",
            "--quiet",
            "--set",
            "ON_ERROR_STOP=1",
            plain_url,
            "-f",
            home / "database.sql",
        ]
        subprocess.run(argv, check=True, capture_output=True)
        monkeypatch.setenv("TIDEMILL_DATABASE_URL", url)
        with Client(home=home, workers=True) as client:
            check_all_is_there(client, tmp_path)
            assert client.prompts.create("sort", text="Now: {{ticket}}").number == 3
    finally:
        postgres.drop(url)
