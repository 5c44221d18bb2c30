"""What takes space is named with what needs it, and what nothing needs goes: beside running jobs, and over a kill."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.jobs.kinds import ROOT, ended, get, until
from tests.registry.makers import write_gguf
from tests.storage.kinds import age, blob_files, build, old_blob
from tidemill.core import events, lineage, removals
from tidemill.core.actors import OWNER
from tidemill.core.blobs import BlobCollected
from tidemill.core.db import metadata
from tidemill.core.errors import Conflict, Unavailable
from tidemill.core.kernel import Kernel
from tidemill.governance import service as governance
from tidemill.jobs.service import JobQueue
from tidemill.jobs.types import JobFilesRemoved
from tidemill.registry import service as registry
from tidemill.registry.types import AliasMove, ModelFilesRemoved, ModelVersion, VersionCreate
from tidemill.storage import service
from tidemill.storage.loop import StorageCleaner, StorageFigures
from tidemill.storage.types import StorageClean


@pytest.fixture
def url(database_url: str) -> str | None:
    return None if database_url.startswith("sqlite") else database_url


@pytest.fixture
def kernel(home: Path, url: str | None) -> Iterator[Kernel]:
    kernel = build(home, url)
    yield kernel
    kernel.get(JobQueue).stop()
    kernel.close()


def add_model(kernel: Kernel, folder: Path, name: str = "tiny", seed: int = 0) -> ModelVersion:
    folder.mkdir(exist_ok=True)
    path = write_gguf(folder / f"{name}-{seed}.gguf", seed=seed)
    files = registry.ingest_folder(kernel, path)
    with kernel.write(OWNER) as ctx:
        version = registry.add_version(ctx, VersionCreate(model=name, files=files))
    age(kernel.blobs.path(version.files[0].hash), 60)
    return version


def clean(kernel: Kernel, days: int = 30) -> tuple[int, int]:
    return service.clean(kernel, OWNER, days, lambda done, total: None)


def submit(kernel: Kernel, **args: str) -> str:
    with kernel.write(OWNER) as ctx:
        return kernel.get(JobQueue).submit(ctx, "test.put", args).id


def test_what_nothing_refers_to_goes_by_age_and_the_rest_stays(kernel: Kernel, home: Path, tmp_path: Path) -> None:
    version = add_model(kernel, tmp_path / "model")
    old, young = old_blob(kernel, b"old"), kernel.blobs.put_bytes(b"young").hash
    log = home / "logs" / "engine-rel_1-abcdefgh.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text("said long ago")
    (home / "logs" / "server.log").write_text("the server's own")
    for path in log.parent.iterdir():
        age(path, 60)
    plan = service.plan_clean(kernel, StorageClean())
    assert {item.name for item in plan.items} == {old, "logs/engine-rel_1-abcdefgh.log"}
    assert kernel.blobs.exists(old), "a plan removes nothing"
    assert clean(kernel) == (2, 3 + len("said long ago"))
    assert not log.exists()
    assert (home / "logs" / "server.log").exists()
    assert kernel.blobs.exists(young)
    assert kernel.blobs.exists(version.files[0].hash)
    assert clean(kernel) == (0, 0)
    with kernel.read(OWNER) as ctx:
        (event,) = events.list_events(ctx.conn, kind="storage.cleaned")
        assert event.data["files"] == 2
        assert {r.name for r in service.list_removed(ctx).items} == {old, "logs/engine-rel_1-abcdefgh.log"}


def test_the_report_says_what_each_thing_is_kept_for(kernel: Kernel, tmp_path: Path) -> None:
    version = add_model(kernel, tmp_path / "model")
    old_blob(kernel, b"old")
    report = service.get_report(kernel)
    kinds = {kind.kind: kind for kind in report.kinds}
    assert kinds["files of models: base, gguf"].bytes == version.size
    assert kinds["files of models: base, gguf"].why == "tiny@1 refers to it"
    assert kinds["blobs that nothing refers to"].removable_bytes == 3
    assert report.removable_bytes == 3
    assert report.bytes == sum(kind.bytes for kind in report.kinds)
    add_model(kernel, tmp_path / "model", "other", seed=1)
    page = service.list_items(kernel, state="needed", limit=1)
    assert page.items[0].size == max(i.size for i in service.list_items(kernel, limit=500).items)
    assert page.next_cursor == "1"


def test_a_blob_that_was_removed_is_named_as_removed(kernel: Kernel) -> None:
    old = old_blob(kernel, b"old")
    clean(kernel)
    with pytest.raises(BlobCollected, match=r"was removed on 20\d\d-\d\d-\d\d to free space: nothing refers to it"):
        kernel.blobs.path(old)
    assert kernel.blobs.put_bytes(b"old").hash == old
    assert kernel.blobs.path(old).read_bytes() == b"old"


def test_what_a_running_job_has_put_and_not_yet_used_stays_however_old(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job runs, and its blob is older than the limit: the limit is a day, and the clock goes on by sixty."""
    kernel.get(JobQueue).start(kernel)
    put, gate = tmp_path / "put", tmp_path / "gate"
    job_id = submit(kernel, content="of the job", put=str(put), gate=str(gate))
    until(put.exists)
    until(put.read_text)
    digest, unneeded = put.read_text(), old_blob(kernel, b"old", days=90)
    with monkeypatch.context() as patch:
        now = service.utc_now
        later = lambda: now() + timedelta(days=60)  # noqa: E731
        patch.setattr("tidemill.storage.survey.utc_now", later)
        assert clean(kernel, 1) == (1, 3)
        items = {item.name: item for item in service.list_items(kernel).items}
    assert items[digest].state == "young"
    assert not kernel.blobs.exists(unneeded)
    gate.touch()
    assert ended(kernel, job_id).result == {"hash": digest}


def test_what_is_put_again_while_the_cleaning_runs_stays(kernel: Kernel) -> None:
    """It was old when the cleaning looked, and somebody put it before its turn came."""
    contents = [f"content {number}".encode() for number in range(20)]
    digests = [old_blob(kernel, content) for content in contents]

    def put_one(done: int, total: int) -> None:
        assert total == len(contents)
        if done == 0:
            for content in contents[10:]:
                kernel.blobs.put_bytes(content)

    files, _ = service.clean(kernel, OWNER, 30, put_one)
    assert files < len(contents)
    assert all(kernel.blobs.exists(digest) for digest in digests[10:])
    with kernel.db.read() as conn:
        assert removals.list_scheduled(conn, 100) == []


def test_a_cleaning_that_is_killed_leaves_nothing_half_done(kernel: Kernel, home: Path, url: str | None) -> None:
    for number in range(6):
        old_blob(kernel, f"old {number}".encode())
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))}
    command = [sys.executable, "-m", "tests.storage.kinds", str(home), url or ""]
    assert subprocess.run(command, env=environment, timeout=120, check=False).returncode == -9
    files = list(blob_files(home))
    assert len(files) == 4
    with kernel.db.read() as conn:
        (removal,) = removals.list_scheduled(conn, 10)
    assert kernel.blobs.exists(removal.name), "the record comes first"
    assert service.finish_scheduled(kernel) == (1, 5)
    assert not kernel.blobs.exists(removal.name)
    with kernel.db.read() as conn:
        assert removals.sum_removed(conn) == (3, 15)
    assert clean(kernel) == (3, 15)


def test_a_removal_that_was_recorded_is_called_off_when_something_refers_to_it_by_then(
    kernel: Kernel, tmp_path: Path
) -> None:
    version = add_model(kernel, tmp_path / "model")
    digest = version.files[0].hash
    removal = removals.Removal(
        name=digest,
        kind="blobs",
        size=1,
        reason="nothing referred to it",
        by="owner",
        scheduled_at=service.utc_now(),
        put_before=service.utc_now(),
    )
    with kernel.db.begin() as conn:
        removals.schedule(conn, removal)
    assert service.finish_scheduled(kernel) == (0, 0)
    assert kernel.blobs.exists(digest)
    with kernel.db.read() as conn:
        assert removals.get(conn, digest) is None


def test_folders_of_jobs_stay_while_the_job_may_go_on(kernel: Kernel, home: Path, tmp_path: Path) -> None:
    put, gate = tmp_path / "put", tmp_path / "gate"
    job_id = submit(kernel, content="x", put=str(put), gate=str(gate))
    for name in (job_id, f"{job_id}.train-1", "job_of-nobody"):
        (home / "work" / name).mkdir(parents=True)
        (home / "work" / name / "rows").write_text("12345")
        age(home / "work" / name, 60)
    assert clean(kernel) == (1, 5)
    assert sorted(path.name for path in (home / "work").iterdir()) == [job_id, f"{job_id}.train-1"]
    with kernel.write(OWNER) as ctx:
        kernel.get(JobQueue).cancel(ctx, job_id)
    assert clean(kernel) == (0, 0), "it can be retried for a while"
    set_finished(kernel, job_id, days=40)
    assert clean(kernel) == (2, 10)
    with pytest.raises(JobFilesRemoved, match="were removed on"), kernel.write(OWNER) as ctx:
        kernel.get(JobQueue).retry(ctx, job_id)
    assert get(kernel, job_id).state == "cancelled"


def set_finished(kernel: Kernel, job_id: str, days: int) -> None:
    table = metadata.tables["jobs"]
    moment = service.utc_now() - timedelta(days=days)
    with kernel.db.begin() as conn:
        conn.execute(table.update().where(table.c.id == job_id).values(finished_at=moment))


def test_the_job_removes_what_may_go(kernel: Kernel) -> None:
    old = old_blob(kernel, b"old")
    kernel.get(JobQueue).start(kernel)
    plan = service.plan_clean(kernel, StorageClean(apply=True))
    with kernel.write(OWNER) as ctx:
        plan = service.submit_clean(ctx, StorageClean(apply=True), plan)
    assert plan.job_id is not None
    assert ended(kernel, plan.job_id).result == {"files": 1, "bytes": 3}
    assert not kernel.blobs.exists(old)


def test_a_server_removes_what_is_old_by_itself_and_measures(kernel: Kernel) -> None:
    old = old_blob(kernel, b"old")
    cleaner = StorageCleaner(kernel)
    assert not cleaner.step(), "not at the start, when everything else starts"
    assert kernel.blobs.exists(old)
    cleaner._due = time.monotonic()
    while cleaner.step():
        pass
    assert not kernel.blobs.exists(old)
    report = kernel.get(StorageFigures).report
    assert report is not None
    assert report.removed_bytes == 3


def test_files_of_a_version_go_and_come_back(kernel: Kernel, tmp_path: Path) -> None:
    version = add_model(kernel, tmp_path / "model")
    folder = registry.materialise(kernel, version)
    with kernel.write(OWNER) as ctx:
        files = registry.remove_files(ctx, version.id, "they are made again in a minute.")
        assert registry.remove_files(ctx, version.id, "twice") == []
    assert [file.hash for file in files] == [version.files[0].hash]
    assert not folder.exists()
    assert clean(kernel)[0] == 1
    with kernel.read(OWNER) as ctx:
        bare = registry.get_version(ctx, version.id)
    with pytest.raises(ModelFilesRemoved, match="made again in a minute"):
        registry.materialise(kernel, bare)
    with kernel.write(OWNER) as ctx, pytest.raises(ModelFilesRemoved):
        registry.require_files(ctx, bare)
    again = add_model(kernel, tmp_path / "model")
    assert again.id == version.id
    assert again.files_removed_at is None
    assert registry.materialise(kernel, again).exists()


def test_files_that_an_alias_names_stay(kernel: Kernel, tmp_path: Path) -> None:
    version = add_model(kernel, tmp_path / "model")
    with kernel.write(OWNER) as ctx:
        registry.move_alias(ctx, "tiny", "champion", AliasMove(version="1", reason="the best"))
        with pytest.raises(Conflict, match="alias champion"):
            registry.remove_files(ctx, version.id, "no")


def test_every_column_that_holds_hashes_of_blobs_is_declared_or_named_here() -> None:
    """A new column with a blob's hash in it is either something that keeps the blob, or is looked at and listed."""
    declared = {f"{t.name}.{c.name}" for t in metadata.sorted_tables for c in t.columns if "blobs" in c.info}
    other = {
        # hashes of content that is no blob: of a declaration, a plan, all files together, a key
        *("model_versions.content_hash", "model_versions.chat_template_hash", "dataset_versions.content_hash"),
        *("dataset_versions.plan_hash", "prompt_versions.content_hash", "releases.content_hash", "gates.hash"),
        *("gate_results.gate_hash", "approvals.release_hash", "pipeline_versions.hash", "eval_runs.results_hash"),
        *("eval_comparisons.spec_hash", "api_keys.secret_hash", "text_vectors.text_hash", "trace_erasures.user_hash"),
    }
    hashes = {
        f"{table.name}.{column.name}"
        for table in metadata.sorted_tables
        for column in table.columns
        if re.search(r"(^|_)hash$", column.name)
    }
    assert hashes - declared - other == set()


def test_old_answers_of_evaluations_go_and_new_ones_stay(kernel: Kernel) -> None:
    table, now = metadata.tables["eval_answers"], service.utc_now()
    rows = [
        {"key": f"{days}-{number}", "answer": "12345", "at": now - timedelta(days=days)}
        for days in (1, 60)
        for number in range(700)
    ]
    with kernel.db.begin() as conn:
        conn.execute(table.insert(), rows)
    kinds = {kind.kind: kind for kind in service.get_report(kernel).kinds}
    answers = kinds["cached answers of evaluations"]
    assert (answers.bytes, answers.removable_bytes) == (7000, 3500)
    assert clean(kernel) == (1, 3500)
    with kernel.db.read() as conn:
        keys = set(conn.execute(table.select()).scalars())
    assert keys == {f"1-{number}" for number in range(700)}
    assert clean(kernel) == (0, 0)


def test_one_request_at_a_time_looks_at_everything(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "PATIENCE_S", 0.01)
    with service._one_survey(), pytest.raises(Unavailable, match="for somebody else"):
        service.get_report(kernel)
    assert service.get_report(kernel).keep_days == 30


def test_lineage_says_what_was_removed(kernel: Kernel, tmp_path: Path) -> None:
    version, old = add_model(kernel, tmp_path / "model"), old_blob(kernel, b"rows of long ago")
    with kernel.write(OWNER) as ctx:
        lineage.record(ctx, lineage.LineageNode(id=old, kind="file", label="rows.csv"))
        lineage.record(ctx, lineage.LineageNode(id="dsv_1", kind="dataset_version", label="rows@1"), [(old, "from")])
        registry.remove_files(ctx, version.id, "they are made again in a minute.")
    clean(kernel)
    with kernel.read(OWNER) as ctx:
        nodes = {node.id: node for node in governance.get_lineage(ctx, "rows@1").up.nodes}
        own = governance.get_lineage(ctx, version.ref).up.nodes[0]
    assert "nothing refers to it" in nodes[old].facts["files_removed_why"]
    assert "files_removed_at" not in nodes["dsv_1"].facts
    assert own.facts["files_removed_why"] == "they are made again in a minute."
    kernel.blobs.put_bytes(b"rows of long ago")
    with kernel.read(OWNER) as ctx:
        nodes = {node.id: node for node in governance.get_lineage(ctx, "rows@1").up.nodes}
    assert "files_removed_at" not in nodes[old].facts, "it is there again"
