"""Versions, evidence and aliases, on SQLite and on PostgreSQL."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.registry.makers import write_adapter, write_folder, write_gguf
from tidemill.core import events, lineage
from tidemill.core.actors import OWNER
from tidemill.core.kernel import Context, Kernel
from tidemill.registry import service
from tidemill.registry.types import (
    AliasMove,
    AliasRemove,
    Card,
    InvalidAlias,
    InvalidModelReference,
    ModelFile,
    ModelFilesMissing,
    ModelInUse,
    ModelNotFound,
    ModelVersion,
    ParentRef,
    ParityEvidence,
    UnknownModelFormat,
    UnsafeModelFile,
    VersionCreate,
    VersionDiffers,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    models_folder = tmp_path / "models"
    models_folder.mkdir()
    return models_folder


def add(ctx: Context, path: Path, model: str = "tiny", **more: object) -> ModelVersion:
    files = service.ingest_folder(ctx.kernel, path)
    return service.add_version(ctx, VersionCreate.model_validate({"model": model, "files": files, **more}))


def add_gguf(ctx: Context, folder: Path, seed: int = 0, **more: object) -> ModelVersion:
    return add(ctx, write_gguf(folder / f"m{seed}.gguf", seed=seed), **more)


def test_an_imported_base_is_servable_with_its_facts(ctx: Context, folder: Path) -> None:
    version = add_gguf(ctx, folder)
    assert (version.ref, version.kind, version.format, version.servable) == ("tiny@1", "base", "gguf", True)
    assert version.size == version.files[0].size == (folder / "m0.gguf").stat().st_size
    assert version.licence == "mit"
    assert version.chat_template_hash is not None
    assert [e.kind for e in service.list_evidence(ctx, "tiny").items] == ["import"]
    assert service.chat_template(ctx, "tiny").hash == version.chat_template_hash
    assert service.get_version(ctx, version.id) == version


def test_the_same_files_are_the_same_version(ctx: Context, folder: Path) -> None:
    first = add_gguf(ctx, folder)
    assert add_gguf(ctx, folder) == first
    assert add_gguf(ctx, folder, 1).number == 2
    with pytest.raises(VersionDiffers, match="licence"):
        add_gguf(ctx, folder, licence="Apache-2.0")
    assert service.get_model(ctx, "tiny").versions == 2


def test_a_converted_base_is_not_servable_until_parity_has_passed(ctx: Context, folder: Path) -> None:
    base = add_gguf(ctx, folder)
    converted = add(ctx, write_folder(folder / "st"), parents=[ParentRef(version="tiny@1", relation="converted_from")])
    assert not converted.servable
    assert [(p.id, p.relation) for p in converted.parents] == [(base.id, "converted_from")]
    proof = ParityEvidence(passed=True, hop="gguf -> safetensors", against=base.id, summary="all equal")
    assert service.mark_servable(ctx, converted.id, proof).servable
    assert service.get_version(ctx, converted.id).servable
    failed = proof.model_copy(update={"passed": False, "summary": "3 of 8 differ"})
    assert not service.mark_servable(ctx, converted.id, failed).servable
    assert [e.passed for e in service.list_evidence(ctx, converted.id).items] == [False, True]


def test_lineage_and_facts_are_kept(ctx: Context, folder: Path) -> None:
    base = add_gguf(ctx, folder)
    child = add_gguf(ctx, folder, 1, kind="quantised", parents=[ParentRef(version=base.id, relation="quantised_from")])
    graph = lineage.walk(ctx.conn, child.id, "up")
    assert graph is not None
    assert {n.label for n in graph.nodes} == {"tiny@1", "tiny@2"}
    kinds = {e.kind for e in events.list_events(ctx.conn, subject=child.id)}
    assert kinds == {"model.version_created"}
    assert child.card.metadata["base_model_relation"] == "quantized"
    assert child.card.metadata["base_model"] == ["tiny@1"]


def test_an_adapter_is_of_kind_adapter_and_nothing_else_is(ctx: Context, folder: Path) -> None:
    with pytest.raises(UnknownModelFormat, match="adapter"):
        add(ctx, write_adapter(folder / "a"))
    with pytest.raises(UnknownModelFormat, match="whole model"):
        add_gguf(ctx, folder, kind="adapter")
    version = add(ctx, write_adapter(folder / "a"), kind="adapter")
    assert (version.format, version.servable, version.facts.lora_rank) == ("peft", False, 8)


def test_an_unknown_parent_blob_or_path_is_refused(ctx: Context, folder: Path) -> None:
    with pytest.raises(ModelNotFound):
        add_gguf(ctx, folder, parents=[ParentRef(version="nobody@1", relation="merged_from")])
    with pytest.raises(ModelNotFound, match="trained_by"):
        add_gguf(ctx, folder, parents=[ParentRef(version="tr_0", relation="trained_by")])
    ghost = ModelFile(path="m.gguf", hash="sha256:" + "0" * 64, size=3)
    with pytest.raises(ModelFilesMissing):
        service.add_version(ctx, VersionCreate(model="tiny", files=[ghost]))
    for path in ("../m.gguf", "/etc/passwd", "a//b", ".hidden", "a/../b", "a\\b"):
        with pytest.raises(ValidationError):
            ModelFile(path=path, hash=ghost.hash, size=3)
    assert service.list_models(ctx, cursor=None, limit=10).items == []


def test_the_server_judges_uploaded_bytes_itself(ctx: Context) -> None:
    blob = ctx.kernel.blobs.put_bytes(b"\x80\x04\x95hello")
    file = ModelFile(path="model.gguf", hash=blob.hash, size=blob.size)
    with pytest.raises(UnsafeModelFile):
        service.add_version(ctx, VersionCreate(model="tiny", files=[file]))


def test_many_at_once_get_a_number_each(kernel: Kernel, folder: Path) -> None:
    paths = [write_gguf(folder / f"m{seed}.gguf", seed=seed) for seed in range(6)]

    def one(path: Path) -> int:
        with kernel.write(OWNER) as ctx:
            return add(ctx, path).number

    with ThreadPoolExecutor(6) as pool:
        numbers = list(pool.map(one, paths))
    assert sorted(numbers) == [1, 2, 3, 4, 5, 6]


def test_references_mean_what_they_say(ctx: Context, folder: Path) -> None:
    first, second = add_gguf(ctx, folder), add_gguf(ctx, folder, 1)
    service.move_alias(ctx, "tiny", "champion", AliasMove(version="1", reason="first"))
    expected = {
        "tiny": second,
        "tiny@latest": second,
        "tiny@1": first,
        "tiny@champion": first,
        second.id: second,
    }
    assert {ref: service.get_version(ctx, ref) for ref in expected} == expected
    for ref in ("tiny@3", "tiny@loser", "mv_none"):
        with pytest.raises(ModelNotFound):
            service.get_version(ctx, ref)
    with pytest.raises(ModelNotFound) as caught:
        service.get_version(ctx, "tinny")
    assert "tiny" in str(caught.value.hint)
    with pytest.raises(InvalidModelReference):
        service.get_version(ctx, "@1")


def test_an_alias_remembers_where_it_was(kernel: Kernel, folder: Path) -> None:
    with kernel.write(OWNER) as ctx:
        add_gguf(ctx, folder)
        add_gguf(ctx, folder, 1)
    moments = []
    for version, reason in (("1", "first"), ("2", "better"), ("1", "regression")):
        with kernel.write(OWNER) as ctx:
            change = service.move_alias(ctx, "tiny", "champion", AliasMove(version=version, reason=reason))
            moments.append(change.at)
    with kernel.read(OWNER) as ctx:
        at = [service.alias_at(ctx, "tiny", "champion", moment).number for moment in moments]
        assert at == [1, 2, 1]
        assert service.alias_at(ctx, "tiny", "champion", None).number == 1
        history = service.alias_history(ctx, "tiny", "champion").changes
        assert [(c.number, c.reason, c.by) for c in history] == [
            (1, "regression", "owner"),
            (2, "better", "owner"),
            (1, "first", "owner"),
        ]
        with pytest.raises(ModelNotFound, match="had no"):
            service.alias_at(ctx, "tiny", "champion", moments[0] - timedelta(seconds=1))


def test_moving_an_alias_where_it_is_changes_nothing(ctx: Context, folder: Path) -> None:
    add_gguf(ctx, folder)
    first = service.move_alias(ctx, "tiny", "champion", AliasMove(version="1", reason="first"))
    assert service.move_alias(ctx, "tiny", "champion", AliasMove(version="latest", reason="again")) == first
    assert len(service.alias_history(ctx, "tiny", "champion").changes) == 1


def test_an_alias_taken_away_is_gone_but_remembered(ctx: Context, folder: Path) -> None:
    add_gguf(ctx, folder)
    service.move_alias(ctx, "tiny", "shadow", AliasMove(version="1", reason="try"))
    service.remove_alias(ctx, "tiny", "shadow", AliasRemove(reason="done"))
    assert service.list_aliases(ctx, "tiny").items == []
    with pytest.raises(ModelNotFound):
        service.get_version(ctx, "tiny@shadow")
    with pytest.raises(ModelNotFound):
        service.remove_alias(ctx, "tiny", "shadow", AliasRemove(reason="again"))
    assert [c.number for c in service.alias_history(ctx, "tiny", "shadow").changes] == [None, 1]


@pytest.mark.parametrize("alias", ["latest", "7", "mv_x"])
def test_names_that_mean_a_version_cannot_be_aliases(ctx: Context, folder: Path, alias: str) -> None:
    add_gguf(ctx, folder)
    with pytest.raises(InvalidAlias):
        service.move_alias(ctx, "tiny", alias, AliasMove(version="1", reason="x"))


def test_a_version_in_use_cannot_be_deleted(ctx: Context, folder: Path) -> None:
    base = add_gguf(ctx, folder)
    child = add_gguf(ctx, folder, 1, kind="quantised", parents=[ParentRef(version=base.id, relation="quantised_from")])
    with pytest.raises(ModelInUse, match="tiny@2"):
        service.delete_version(ctx, "tiny@1")
    service.move_alias(ctx, "tiny", "champion", AliasMove(version="2", reason="x"))
    service.move_alias(ctx, "tiny", "champion", AliasMove(version="1", reason="back"))
    with pytest.raises(ModelInUse, match="champion"):
        service.delete_version(ctx, child.id)


def test_a_deleted_number_is_not_used_again(kernel: Kernel, folder: Path) -> None:
    with kernel.write(OWNER) as ctx:
        version = add_gguf(ctx, folder)
        place = service.materialise(kernel, version)
    with kernel.write(OWNER) as ctx:
        service.delete_version(ctx, "tiny@1")
    assert not place.exists()
    with kernel.write(OWNER) as ctx:
        with pytest.raises(ModelNotFound):
            service.get_version(ctx, "tiny")
        assert add_gguf(ctx, folder).number == 2


def test_the_card_is_a_markdown_file_with_metadata(ctx: Context, folder: Path) -> None:
    add_gguf(ctx, folder, card=Card(text="# Mine\n\nWords.", metadata={"language": ["en"], "tags": ["a|b"]}))
    text = service.render_card(ctx, "tiny").markdown
    assert text.startswith("---\nlanguage:")
    assert 'model_name: "tiny"' in text
    assert "# Mine" in text
    assert "| Quantisation | F32 |" in text


def test_versions_are_listed_in_pages(ctx: Context, folder: Path) -> None:
    for seed in range(3):
        add_gguf(ctx, folder, seed)
    first = service.list_versions(ctx, "tiny", cursor=None, limit=2)
    assert [v.number for v in first.items] == [3, 2]
    rest = service.list_versions(ctx, "tiny", cursor=first.next_cursor, limit=2)
    assert [v.number for v in rest.items] == [1]
    assert rest.next_cursor is None


def test_files_are_laid_out_once_and_healed(ctx: Context, folder: Path) -> None:
    version = add(ctx, write_folder(folder / "st"))
    place = service.materialise(ctx.kernel, version)
    assert sorted(p.name for p in place.iterdir()) == [f.path for f in version.files]
    blob = ctx.kernel.blobs.path(version.files[0].hash)
    assert os.path.samefile(place / version.files[0].path, blob)
    assert service.materialise(ctx.kernel, version) == place
    (place / "config.json").unlink()
    assert (service.materialise(ctx.kernel, version) / "config.json").is_file()
    assert [p.name for p in place.parent.iterdir()] == [version.id]


def test_the_weights_of_a_gguf_version_are_one_file(ctx: Context, folder: Path) -> None:
    path = service.weights_path(ctx.kernel, add_gguf(ctx, folder))
    assert path.read_bytes() == (folder / "m0.gguf").read_bytes()
    with pytest.raises(UnknownModelFormat):
        service.weights_path(ctx.kernel, add(ctx, write_folder(folder / "st"), "other"))


def test_nothing_is_stored_of_a_folder_with_a_pickle_in_it(ctx: Context, folder: Path) -> None:
    model_folder = write_folder(folder / "st")
    (model_folder / "training_args.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(UnsafeModelFile):
        service.ingest_folder(ctx.kernel, model_folder)
    assert list((ctx.kernel.settings.home / "blobs").rglob("[0-9a-f]" * 64)) == []
