"""Storage over HTTP, the SDK and the command line."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.storage.kinds import old_blob
from tidemill.cli import app as commands
from tidemill.client import Client
from tidemill.core.actors import Role
from tidemill.core.errors import Forbidden, Invalid, NotFound
from tidemill.core.kernel import Kernel
from tidemill.core.settings import Settings
from tidemill.engines.types import Fleet
from tidemill.server.app import build_kernel
from tidemill.server.metrics import render
from tidemill.storage import service
from tidemill.storage.types import StorageClean
from tidemill.traces.types import WriterState


@pytest.fixture
def old(home: Path) -> Iterator[str]:
    """A home with one blob that nothing needs; its hash."""
    kernel: Kernel = build_kernel(Settings(home=home))
    digest = old_blob(kernel, b"of no use")
    kernel.close()
    return digest


def test_the_client_shows_and_cleans(home: Path, old: str) -> None:
    with Client(workers=True) as client:
        report = client.storage.get()
        assert report.removable_bytes == len(b"of no use")
        assert [item.name for item in client.storage.list(state="removable")] == [old]
        plan = client.storage.clean(keep_days=90)
        assert (plan.files, plan.job_id) == (0, None)
        plan = client.storage.clean(apply=True)
        assert plan.job_id is not None
        assert client.jobs.wait(plan.job_id).result == {"files": 1, "bytes": 9}
        assert [removal.name for removal in client.storage.list_removed()] == [old]
        with pytest.raises(NotFound, match="was removed on") as raised:
            client.blobs.get(old, home / "copy")
        assert raised.value.code == "blob_collected"
        kinds = {event.kind for event in client.governance.audit(kind="storage.").items}
        assert kinds == {"storage.clean_requested", "storage.cleaned"}


def test_a_viewer_may_look_and_only_an_admin_clean(home: Path, old: str) -> None:
    with Client(workers=True) as client:
        for name, allowed in (("viewer", False), ("developer", False), ("admin", True)):
            role: Role = name  # type: ignore[assignment]
            client.access.create_person(name, roles=[role])
            with Client(client.http.base_url, api_key=client.access.create_key(name).secret) as other:
                assert other.storage.get().removable_bytes == 9
                if allowed:
                    assert other.storage.clean().files == 1
                else:
                    with pytest.raises(Forbidden):
                        other.storage.clean()


def test_wrong_requests_are_refused(home: Path) -> None:
    with Client() as client:
        for path, params in (
            ("/api/storage/items", {"state": "odd"}),
            ("/api/storage/items", {"cursor": "-1"}),
            ("/api/storage/removed", {"cursor": "x"}),
        ):
            with pytest.raises(Invalid):
                client.http.send("GET", path, params=params)
        with pytest.raises(Invalid):
            client.http.send("POST", "/api/storage/clean", body=StorageClean.model_construct(keep_days=0))


def test_commands_show_what_would_go_and_remove_it_with_yes(home: Path, old: str) -> None:
    run = CliRunner().invoke
    shown = run(commands, ["storage"])
    assert shown.exit_code == 0
    assert "blobs that nothing refers to" in shown.output
    removable = run(commands, ["storage", "list", "--state", "removable"], env={"COLUMNS": "80"}).output
    assert old[:19] in removable
    assert "nothing refers to it" in removable, "the reason has room on a narrow terminal"
    dry = run(commands, ["storage", "clean"])
    assert "tidemill storage clean --yes" in dry.output
    assert json.loads(run(commands, ["--json", "storage", "clean"]).output)["files"] == 1
    done = run(commands, ["storage", "clean", "--yes"])
    assert done.exit_code == 0, done.output
    assert "Removed 1 files or folders, 9 B." in done.output
    assert old[:19] in run(commands, ["storage", "removed"], env={"COLUMNS": "80"}).output
    assert json.loads(run(commands, ["--json", "storage", "removed"]).output)["items"][0]["name"] == old
    assert "Nothing may go" in run(commands, ["storage", "clean"]).output


def test_metrics_tell_what_the_last_look_saw(home: Path, old: str) -> None:
    kernel = build_kernel(Settings(home=home))
    try:
        report = service.get_report(kernel)
    finally:
        kernel.close()
    text = render("1", {}, {}, Fleet(replicas=[], waiting=0), WriterState(stored=0, waiting=0, refused=0), report, 0.0)
    assert 'tidemill_storage_bytes{kind="blobs that nothing refers to"} 9.0' in text
    assert "tidemill_storage_removable_bytes 9.0" in text
