"""The F16 file of a run goes after its proof, unless it was asked for or something needs it."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.registry.makers import write_gguf
from tidemill.core.actors import OWNER
from tidemill.core.kernel import Kernel
from tidemill.core.wire import new_id, utc_now
from tidemill.registry import service as registry
from tidemill.registry.types import AliasMove, ModelVersion, ParityEvidence, VersionCreate
from tidemill.storage import service as storage
from tidemill.storage.types import StorageClean
from tidemill.tuning import service, store
from tidemill.tuning.types import Output, TuningRun, TuningSpec


def make_run(kernel: Kernel, folder: Path, *, days: int = 60, **spec: Any) -> tuple[TuningRun, ModelVersion]:
    """A run that ended some days ago, and the version with its F16 file."""
    files = registry.ingest_folder(kernel, write_gguf(folder / "tuned-f16.gguf"))
    ended_at = utc_now() - timedelta(days=days)
    run = TuningRun(
        id=new_id("tr"),
        name="tuned",
        state="succeeded",
        spec=TuningSpec(model="tiny", dataset="pets", name="tuned", **spec),
        base_version_id="mv_base",
        dataset_version_id="dv_pets",
        prompt_version_id=None,
        job_id="job_x",
        estimate=None,
        last_step=None,
        total_steps=None,
        summary=None,
        outputs=[],
        parity=None,
        error=None,
        created_at=ended_at,
        created_by="owner",
        finished_at=ended_at,
    )
    with kernel.write(OWNER) as ctx:
        version = registry.add_version(ctx, VersionCreate(model="tuned", kind="merged", files=files))
        store.insert(ctx.conn, run, None)
        output = Output(kind="gguf:f16", version_id=version.id, ref=version.ref, servable=False)
        store.put_output(ctx.conn, run.id, output)
    return run, version


def get_version(kernel: Kernel, version: ModelVersion) -> ModelVersion:
    with kernel.read(OWNER) as ctx:
        return registry.get_version(ctx, version.id)


def remove(kernel: Kernel, run: TuningRun) -> int:
    with kernel.write(OWNER) as ctx:
        return service.remove_f16(ctx, run.id)


def test_the_file_goes_and_the_version_stays(kernel: Kernel, tmp_path: Path) -> None:
    run, version = make_run(kernel, tmp_path, then=["gguf:q8_0"])
    assert remove(kernel, run) == version.size
    assert remove(kernel, run) == 0
    bare = get_version(kernel, version)
    assert bare.files_removed_why is not None
    assert "tidemill tune compress tuned@1 --to gguf:f16" in bare.files_removed_why
    assert storage.finish_scheduled(kernel) == (1, version.size)
    assert not kernel.blobs.exists(version.files[0].hash)


@pytest.mark.parametrize("spec", [{"keep_f16": True}, {"then": ["gguf:f16"]}])
def test_a_file_that_was_asked_for_stays(kernel: Kernel, tmp_path: Path, spec: dict[str, Any]) -> None:
    run, version = make_run(kernel, tmp_path, **spec)
    assert remove(kernel, run) == 0
    assert get_version(kernel, version).files_removed_at is None
    assert storage.plan_clean(kernel, StorageClean()).files == 0


def test_a_file_that_may_be_served_or_that_an_alias_names_stays(kernel: Kernel, tmp_path: Path) -> None:
    run, version = make_run(kernel, tmp_path)
    with kernel.write(OWNER) as ctx:
        registry.move_alias(ctx, "tuned", "best", AliasMove(version="1", reason="try it"))
    assert remove(kernel, run) == 0
    with kernel.write(OWNER) as ctx:
        proof = ParityEvidence(passed=True, hop="trainer -> served:f16", summary="It answers alike.")
        registry.mark_servable(ctx, version.id, proof)
    assert remove(kernel, run) == 0
    assert get_version(kernel, version).files_removed_at is None


def test_a_cleaning_finds_files_of_runs_before_there_was_the_option(kernel: Kernel, tmp_path: Path) -> None:
    _, version = make_run(kernel, tmp_path, days=60)
    plan = storage.plan_clean(kernel, StorageClean())
    assert [(item.name, item.size) for item in plan.items] == [(version.files[0].hash, version.size)]
    assert "was not asked to keep it" in plan.items[0].why
    assert storage.plan_clean(kernel, StorageClean(keep_days=90)).files == 0
    assert storage.clean(kernel, OWNER, 30, lambda done, total: None) == (0, 0), "a server by itself leaves it"
    assert storage.clean_f16(kernel, OWNER, 30) == 1
    assert storage.clean(kernel, OWNER, 30, lambda done, total: None) == (1, version.size)
    assert get_version(kernel, version).files_removed_at is not None


def test_the_spec_of_an_old_run_is_written_as_it_was(kernel: Kernel, tmp_path: Path) -> None:
    """A run of a Tidemill without the setting: a file with its spec must not change with the next version."""
    run, _ = make_run(kernel, tmp_path)
    with kernel.write(OWNER) as ctx:
        stored = run.spec.model_dump(mode="json", exclude={"keep_f16"})
        store.update(ctx.conn, run.id, spec=stored)
        spec = service.get(ctx, run.id).spec
    assert not spec.keep_f16
    assert spec.model_dump(mode="json", exclude_unset=True) == stored
