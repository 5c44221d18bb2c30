"""Dequantising, merging, converting, quantising: no hop may lose more than it says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize, quantize

from tidemill.tuning.compress import llama
from tidemill.tuning.compress.convert import convert, header_of
from tidemill.tuning.compress.files import read_json, replacing, write_json
from tidemill.tuning.compress.merge import merge
from tidemill.tuning.compress.quantise import form_of, ggml_encode, quantise
from tidemill.tuning.compress.vocabulary import tokenizer_config, tokenizer_json
from tidemill.tuning.types import UnknownQuantisation, UnsupportedModel

pytestmark = pytest.mark.tune


def tensors(path: Path) -> dict[str, Any]:
    return {t.name: t for t in GGUFReader(path).tensors}


def test_there_and_back_keeps_every_weight(tiny: Path, tiny_gguf: Path, tmp_path: Path) -> None:
    convert(tiny, tmp_path / "f16.gguf", name="tiny")
    source, back = tensors(tiny_gguf), tensors(tmp_path / "f16.gguf")
    assert sorted(source) == sorted(back)
    for name, tensor in source.items():
        expected = dequantize(tensor.data, tensor.tensor_type)
        expected = expected.astype(np.float16) if expected.ndim > 1 else expected
        assert (np.asarray(back[name].data) == expected).all(), name


def test_there_and_back_keeps_the_vocabulary(fields: dict[str, Any], tiny: Path, tmp_path: Path) -> None:
    write_json(tmp_path / "tokenizer.json", tokenizer_json(fields))
    write_json(tmp_path / "tokenizer_config.json", tokenizer_config(fields))
    (tmp_path / "chat_template.jinja").write_text(fields["tokenizer.chat_template"])
    config = read_json(tiny / "config.json") | {"vocab_size": len(fields["tokenizer.ggml.tokens"])}
    header = header_of(tmp_path, config, "tiny")
    for key, value in fields.items():
        if key.startswith("tokenizer."):
            assert header[key][1] == value, key


def test_the_rows_of_a_head_go_there_and_back() -> None:
    weight = np.arange(16 * 3).reshape(16, 3)
    interleaved = llama.interleave(weight, 2)
    assert (interleaved[:4, 0] == [0, 12, 3, 15]).all()
    assert (llama.deinterleave(interleaved, 2) == weight).all()


@pytest.mark.parametrize(
    "name", ["model.layers.12.self_attn.q_proj.weight", "model.embed_tokens.weight", "lm_head.weight"]
)
def test_names_go_there_and_back(name: str) -> None:
    assert llama.hf_name(llama.gguf_name(name)) == name


def test_a_strange_tensor_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="attn_sinks"):
        llama.hf_name("blk.0.attn_sinks.weight")


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1"])
def test_our_blocks_are_those_of_the_reference(kind: str) -> None:
    values = np.random.default_rng(1).normal(0, 0.05, (24, 576)).astype(np.float32)
    form = GGMLQuantizationType[kind]
    assert (ggml_encode(values, form) == quantize(values, form)).all()


def test_q4_k_m_mixes_forms_and_falls_back_for_narrow_rows() -> None:
    form = GGMLQuantizationType
    wide = {"main": form.Q4_K, "layers": 30, "tied": True}
    assert form_of("token_embd.weight", (49152, 1024), **wide) == form.Q6_K
    assert form_of("token_embd.weight", (49152, 576), **wide) == form.Q8_0
    assert form_of("blk.0.ffn_down.weight", (576, 1536), **wide) == form.Q6_K
    assert form_of("blk.3.ffn_down.weight", (576, 1536), **wide) == form.Q4_K
    assert form_of("blk.5.attn_q.weight", (576, 576), **wide) == form.Q5_0
    assert form_of("blk.0.attn_v.weight", (192, 576), **wide) == form.Q8_0


def test_quantising_twice_is_refused(tiny_gguf: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="already"):
        quantise(tiny_gguf, tmp_path / "x.gguf", "q8_0")
    assert not list(tmp_path.iterdir()), "nothing half-written stays"
    with pytest.raises(UnknownQuantisation):
        quantise(tiny_gguf, tmp_path / "x.gguf", "q3_k")  # type: ignore[arg-type]


def adapter(folder: Path, size: float, **changes: Any) -> Path:
    """A LoRA of rank 4 on every query projection."""
    from safetensors.numpy import save_file

    rng = np.random.default_rng(3)
    folder.mkdir()
    tensors_found = {}
    for layer in range(2):
        at = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        tensors_found[f"{at}.lora_A.weight"] = rng.normal(0, size, (4, 64)).astype(np.float32)
        tensors_found[f"{at}.lora_B.weight"] = rng.normal(0, size, (64, 4)).astype(np.float32)
    save_file(tensors_found, folder / "adapter_model.safetensors")
    write_json(folder / "adapter_config.json", {"peft_type": "LORA", "lora_alpha": 8, "r": 4} | changes)
    return folder


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_merging_is_what_peft_does(tiny: Path, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, PeftModel
    from transformers import AutoModelForCausalLM

    from tidemill.tuning.compress.files import read_json as read

    settings = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj"], task_type="CAUSAL_LM").to_dict()
    plain = {k: sorted(v) if isinstance(v, set) else v for k, v in settings.items()}
    plain = {k: v for k, v in plain.items() if isinstance(v, str | int | float | bool | list | type(None))}
    folder = adapter(tmp_path / "adapter", 0.1, **plain)
    assert read(folder / "adapter_config.json")["peft_type"] in ("LORA", "PeftType.LORA")
    merge(tiny, folder, tmp_path / "merged")
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    theirs = PeftModel.from_pretrained(model, folder).merge_and_unload().state_dict()
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32).state_dict()
    for name, value in theirs.items():
        assert torch.allclose(ours[name], value, atol=2e-3, rtol=1e-3), name


def test_an_adapter_that_is_more_than_lora_is_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="use_dora"):
        merge(tiny, adapter(tmp_path / "adapter", 0.1, use_dora=True), tmp_path / "merged")


def test_a_fine_tuning_vanishes_on_the_grid_of_its_base(tiny: Path, tiny_gguf: Path, tmp_path: Path) -> None:
    """The silent fault: a base that came from Q4_1, tuned a little and written as Q4_1 again, is the base again."""
    merge(tiny, adapter(tmp_path / "adapter", 0.02), tmp_path / "merged")
    convert(tmp_path / "merged", tmp_path / "f16.gguf", name="tuned")
    for form in ("q4_1", "q8_0"):
        quantise(tmp_path / "f16.gguf", tmp_path / f"{form}.gguf", form)  # type: ignore[arg-type]
    name = "blk.0.attn_q.weight"

    def found(path: Path) -> tuple[Any, Any]:
        tensor = tensors(path)[name]
        return dequantize(tensor.data, tensor.tensor_type), tensor.data

    base, codes = found(tiny_gguf)
    tuned, _ = found(tmp_path / "f16.gguf")
    fine, _ = found(tmp_path / "q8_0.gguf")
    mean_change = np.abs(tuned - base).mean()
    assert mean_change > 0
    assert np.corrcoef((fine - base).ravel(), (tuned - base).ravel())[0, 1] > 0.5
    again = found(tmp_path / "q4_1.gguf")[1]
    equal_share = (codes.reshape(-1, 20)[:, 4:] == again.reshape(-1, 20)[:, 4:]).mean()
    assert equal_share > 0.9, "nearly every 4-bit code is the base's own"


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x"

    def fail() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert not list(tmp_path.iterdir())
