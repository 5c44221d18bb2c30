"""What a release freezes, on SQLite and on PostgreSQL."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.registry.makers import write_adapter_gguf, write_gguf
from tests.releases.makers import add_model, make_release
from tidemill.core import lineage
from tidemill.core.kernel import Context
from tidemill.prompts import service as prompts
from tidemill.prompts.types import PromptCreate
from tidemill.registry import service as registry
from tidemill.registry.types import ModelFile, ModelInUse, ModelNotFound, ParentRef, ParityEvidence, VersionCreate
from tidemill.releases import manifest, service
from tidemill.releases.types import (
    FrozenMessage,
    FrozenModel,
    FrozenPrompt,
    InvalidRelease,
    Manifest,
    ModelNotServable,
    Release,
    ReleaseCreate,
    ReleaseNotFound,
    Sampling,
)

PROOF = ParityEvidence(passed=True, hop="a -> b", summary="equal")


def create(ctx: Context, **body: object) -> Release:
    return service.create_release(ctx, ReleaseCreate.model_validate({"name": "hello", **body}))


def test_a_release_freezes_all_that_shapes_an_answer(ctx: Context, tmp_path: Path) -> None:
    model = add_model(ctx, tmp_path)
    prompts.create(
        ctx,
        PromptCreate.model_validate(
            {
                "name": "kind",
                "messages": [{"role": "system", "content": "Be kind to {{name}}."}],
                "parameters": {"temperature": 0.7, "max_tokens": 20},
            }
        ),
    )
    release = create(ctx, model="tiny", prompt="kind", sampling={"temperature": 0})
    held = release.manifest
    assert (release.ref, held.model.version_id, held.model.files) == ("hello@1", model.id, model.files)
    assert held.model.chat_template_hash == model.chat_template_hash
    assert held.prompt is not None
    assert (held.prompt.ref, held.prompt.messages[0].content) == ("kind@1", "Be kind to {{name}}.")
    assert (held.sampling.temperature, held.sampling.max_tokens) == (0, 20)
    assert (held.tools, held.guards, held.index) == ([], [], None)
    assert service.get_release(ctx, "hello") == release == service.get_release(ctx, release.id)
    graph = lineage.walk(ctx.conn, release.id, "up")
    assert graph is not None
    assert {n.label for n in graph.nodes} == {"hello@1", "tiny@1", "kind@1"}
    assert lineage.find(ctx.conn, "release", "hello@1") is not None


def test_the_same_content_is_the_same_release_and_other_content_the_next(ctx: Context, tmp_path: Path) -> None:
    first = make_release(ctx, tmp_path)
    assert create(ctx, model="tiny@1", note="again") == first
    second = create(ctx, model="tiny", sampling={"seed": 1})
    assert (second.number, second.content_hash != first.content_hash) == (2, True)
    other = create(ctx, name="other", model="tiny")
    assert (other.number, other.content_hash) == (1, first.content_hash)
    assert service.get_release(ctx, "hello").number == 2
    listed = service.list_releases(ctx, name="hello", cursor=None, limit=10).items
    assert [r.number for r in listed] == [2, 1]


def test_a_release_says_what_differs(ctx: Context, tmp_path: Path) -> None:
    make_release(ctx, tmp_path, sampling={"temperature": 0})
    add_model(ctx, tmp_path, seed=1)
    create(ctx, model="tiny@2", sampling={"temperature": 1, "stop": ["."]})
    changes = {c.path: (c.before, c.after) for c in service.diff(ctx, "hello@1", "hello@2").changes}
    assert changes["sampling.temperature"] == (0, 1)
    assert changes["sampling.stop"] == (None, ["."])
    assert changes["model.ref"] == ("tiny@1", "tiny@2")
    assert "model.files.0.hash" in changes
    assert service.diff(ctx, "hello@1", "hello@1").changes == []


def test_a_model_without_parity_cannot_be_released(ctx: Context, tmp_path: Path) -> None:
    base = add_model(ctx, tmp_path)
    parents = [ParentRef(version=base.id, relation="quantised_from")]
    made = add_model(ctx, tmp_path, seed=1, kind="quantised", parents=parents)
    with pytest.raises(ModelNotServable, match="tiny@2"):
        create(ctx, model="tiny@2")
    registry.mark_servable(ctx, made.id, PROOF)
    assert create(ctx, model="tiny@2").number == 1
    with pytest.raises(ModelInUse):
        registry.delete_version(ctx, made.id)


def test_an_adapter_belongs_to_its_model(ctx: Context, tmp_path: Path) -> None:
    base = add_model(ctx, tmp_path)
    files = registry.ingest_folder(ctx.kernel, write_adapter_gguf(tmp_path / "a.gguf"))
    body = VersionCreate(
        model="lora", kind="adapter", files=files, parents=[ParentRef(version=base.id, relation="adapter_of")]
    )
    adapter = registry.add_version(ctx, body)
    with pytest.raises(ModelNotServable):
        create(ctx, model="tiny", adapter="lora")
    registry.mark_servable(ctx, adapter.id, PROOF)
    release = create(ctx, model="tiny", adapter="lora")
    assert release.manifest.adapter is not None
    assert release.manifest.adapter.version_id == adapter.id
    with pytest.raises(InvalidRelease, match="answers nothing"):
        create(ctx, model="lora")
    with pytest.raises(InvalidRelease, match="whole model"):
        create(ctx, model="tiny", adapter="tiny")
    add_model(ctx, tmp_path, seed=5, name="stranger")
    with pytest.raises(InvalidRelease, match="not trained on"):
        create(ctx, model="stranger", adapter="lora")


def test_an_adapter_trained_with_another_template_is_refused(ctx: Context, tmp_path: Path) -> None:
    files = registry.ingest_folder(ctx.kernel, write_gguf(tmp_path / "t.gguf", template="other", seed=9))
    registry.add_version(ctx, VersionCreate(model="other", files=files))
    path = write_adapter_gguf(tmp_path / "a.gguf")
    files = registry.ingest_folder(ctx.kernel, path)
    body = VersionCreate(
        model="lora", kind="adapter", files=files, parents=[ParentRef(version="other", relation="adapter_of")]
    )
    adapter = registry.mark_servable(ctx, registry.add_version(ctx, body).id, PROOF)
    assert adapter.chat_template_hash is None  # says nothing, so the lineage alone decides
    assert create(ctx, model="other", adapter="lora").number == 1


def test_what_does_not_exist_or_fit_is_refused(ctx: Context, tmp_path: Path) -> None:
    add_model(ctx, tmp_path)
    with pytest.raises(ModelNotFound):
        create(ctx, model="nobody")
    prompts.create(ctx, PromptCreate(name="text", text="Hello"))
    with pytest.raises(InvalidRelease, match="plain text"):
        create(ctx, model="tiny", prompt="text")
    odd = {"name": "odd", "messages": [{"role": "system", "content": "x"}], "parameters": {"warmth": 3}}
    prompts.create(ctx, PromptCreate.model_validate(odd))
    with pytest.raises(InvalidRelease, match="warmth"):
        create(ctx, model="tiny", prompt="odd")
    hot = odd | {"name": "hot", "parameters": {"temperature": 9}}
    prompts.create(ctx, PromptCreate.model_validate(hot))
    with pytest.raises(InvalidRelease, match=r"hot@1 carries .* temperature must be at most 2"):
        create(ctx, model="tiny", prompt="hot")
    for ref in ("hello", "hello@x", "hello@99999999999999999999", "rel_0"):
        with pytest.raises(ReleaseNotFound):
            service.get_release(ctx, ref)


hashes = st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:".__add__)
files = st.builds(ModelFile, path=st.just("m.gguf"), hash=hashes, size=st.integers(0, 2**40))
models = st.builds(
    FrozenModel,
    version_id=st.text(max_size=5),
    ref=st.sampled_from(["a@1", "b@2"]),
    kind=st.just("base"),
    format=st.just("gguf"),
    files=st.lists(files, max_size=2),
    content_hash=hashes,
    chat_template_hash=st.none() | hashes,
)
messages = st.builds(FrozenMessage, role=st.sampled_from(["system", "user"]), content=st.text(max_size=20))
frozen_prompts = st.builds(
    FrozenPrompt, version_id=st.text(max_size=5), ref=st.just("p@1"), messages=st.lists(messages, max_size=3)
)
samplings = st.builds(
    Sampling,
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0.01, 1),
    max_tokens=st.none() | st.integers(1, 10**6),
    stop=st.lists(st.text(max_size=5), max_size=3),
    seed=st.none() | st.integers(-(2**31), 2**31),
)
manifests = st.builds(Manifest, model=models, prompt=st.none() | frozen_prompts, sampling=samplings)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(manifests)
def test_a_manifest_has_one_hash_whatever_way_it_went(held: Manifest) -> None:
    again = Manifest.model_validate_json(held.model_dump_json())
    assert manifest.manifest_hash(again) == manifest.manifest_hash(held)
    moved = held.model_copy(update={"model": held.model.model_copy(update={"version_id": "mv_other"})})
    assert manifest.manifest_hash(moved) == manifest.manifest_hash(held)
    assert manifest.diff(held, again) == []


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(manifests, manifests)
def test_hashes_differ_exactly_when_something_differs(one: Manifest, other: Manifest) -> None:
    same = manifest.hashed_content(one) == manifest.hashed_content(other)
    assert (manifest.manifest_hash(one) == manifest.manifest_hash(other)) == same
    assert (manifest.diff(one, other) == []) == same
