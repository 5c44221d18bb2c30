"""The llama architecture as Hugging Face and as GGUF write it: the names of its tensors, its shape, its head order."""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.tuning.types import UnsupportedModel

Array = NDArray[Any]

_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}

_LAYER_BACK = {v: k for k, v in _LAYER.items()}
_OUTSIDE_BACK = {v: k for k, v in _OUTSIDE.items()}


def gguf_name(name: str) -> str:
    """Return GGUF's name of a Hugging Face tensor, such as `blk.3.attn_q.weight`."""
    stem = name.removesuffix(".weight")
    if stem in _OUTSIDE:
        return f"{_OUTSIDE[stem]}.weight"
    match = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", stem)
    if match is None or match[2] not in _LAYER:
        raise UnsupportedModel(f"The tensor {name!r} is not one of a llama model.")
    return f"blk.{match[1]}.{_LAYER[match[2]]}.weight"


def hf_name(name: str) -> str:
    """Return Hugging Face's name of a GGUF tensor, such as `model.layers.3.self_attn.q_proj.weight`."""
    stem = name.removesuffix(".weight")
    if stem in _OUTSIDE_BACK:
        return f"{_OUTSIDE_BACK[stem]}.weight"
    match = re.fullmatch(r"blk\.(\d+)\.(.+)", stem)
    if match is None or match[2] not in _LAYER_BACK:
        raise UnsupportedModel(f"The tensor {name!r} is not one of a llama model.")
    return f"model.layers.{match[1]}.{_LAYER_BACK[match[2]]}.weight"


def heads_of(name: str, config: dict[str, Any]) -> int | None:
    """Return how many heads the rows of a tensor belong to; None when rotary embedding does not touch it."""
    if name.endswith("q_proj.weight"):
        return int(config["num_attention_heads"])
    if name.endswith("k_proj.weight"):
        return int(config["num_key_value_heads"])
    return None


def interleave(weight: Array, heads: int) -> Array:
    """Reorder rows from Hugging Face's order (halves of a head after each other) to GGUF's (pairs side by side)."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))


def deinterleave(weight: Array, heads: int) -> Array:
    """Undo `interleave`."""
    pairs = weight.reshape(heads, weight.shape[0] // heads // 2, 2, *weight.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(weight.shape))


def config_of(fields: dict[str, Any], *, tied: bool) -> dict[str, Any]:
    """Return a Hugging Face `config.json` from GGUF metadata. `tied`: input and output embeddings are one tensor."""
    architecture = fields.get("general.architecture")
    if architecture != "llama":
        raise UnsupportedModel(
            f"The model's architecture is {architecture!r}.", hint="Tuning knows the llama architecture so far."
        )
    if "llama.rope.scaling.type" in fields or "llama.expert_count" in fields:
        raise UnsupportedModel("The model uses rope scaling or experts, which tuning does not convert yet.")
    width, heads = int(fields["llama.embedding_length"]), int(fields["llama.attention.head_count"])
    base = float(fields.get("llama.rope.freq_base", 10000.0))
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(fields["tokenizer.ggml.tokens"]),
        "hidden_size": width,
        "intermediate_size": int(fields["llama.feed_forward_length"]),
        "num_hidden_layers": int(fields["llama.block_count"]),
        "num_attention_heads": heads,
        "num_key_value_heads": int(fields.get("llama.attention.head_count_kv", heads)),
        "head_dim": int(fields.get("llama.rope.dimension_count", width // heads)),
        "max_position_embeddings": int(fields["llama.context_length"]),
        # GGUF keeps a 32-bit float; the shortest decimal that means it is the figure the authors wrote.
        "rms_norm_eps": _shortest(fields["llama.attention.layer_norm_rms_epsilon"]),
        "rope_theta": base,
        "rope_parameters": {"rope_type": "default", "rope_theta": base},
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": tied,
        "bos_token_id": fields.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": fields.get("tokenizer.ggml.eos_token_id"),
        "pad_token_id": fields.get("tokenizer.ggml.padding_token_id"),
        "dtype": "float16",
    }


def _shortest(value: float) -> float:
    return float(str(np.float32(value)))


def fields_of(config: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    """Return GGUF metadata from a Hugging Face `config.json`: key -> (kind of number, value)."""
    if config.get("model_type") != "llama" or config.get("attention_bias") or config.get("mlp_bias"):
        raise UnsupportedModel(
            f"The model's type is {config.get('model_type')!r}.",
            hint="Conversion to GGUF knows llama models without biases so far.",
        )
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type", "default") != "default":
        raise UnsupportedModel(f"The rope scaling {rope['rope_type']!r} is not converted yet.")
    heads = int(config["num_attention_heads"])
    width = int(config["hidden_size"])
    return {
        "llama.block_count": ("uint32", int(config["num_hidden_layers"])),
        "llama.context_length": ("uint32", int(config["max_position_embeddings"])),
        "llama.embedding_length": ("uint32", width),
        "llama.feed_forward_length": ("uint32", int(config["intermediate_size"])),
        "llama.attention.head_count": ("uint32", heads),
        "llama.attention.head_count_kv": ("uint32", int(config.get("num_key_value_heads") or heads)),
        "llama.rope.freq_base": ("float32", float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0)),
        "llama.attention.layer_norm_rms_epsilon": ("float32", float(config["rms_norm_eps"])),
        "llama.vocab_size": ("uint32", int(config["vocab_size"])),
        "llama.rope.dimension_count": ("uint32", int(config.get("head_dim") or width // heads)),
    }
