"""A llama model with random weights, small enough to be trained in a second and to answer at once.

It stands for a real model wherever a test asks what is done with a model, not how good its answers are. Its tokenizer
is the beginning of the packaged model's own: the first tokens with the merges that make them, which is a whole
byte-pair encoding again.
"""

from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader

from tidemill.registry.packaged import SMOLLM2, locate
from tidemill.tuning.compress import safetensors_file
from tidemill.tuning.compress.convert import convert
from tidemill.tuning.compress.dequantise import dequantise
from tidemill.tuning.compress.files import write_json
from tidemill.tuning.compress.quantise import quantise
from tidemill.tuning.compress.safetensors_file import Slot, kept_dtype
from tidemill.tuning.compress.vocabulary import tokenizer_config, tokenizer_json

VOCABULARY, WIDTH, INNER, LAYERS, HEADS, KEYS = 4096, 64, 128, 2, 4, 2


def packaged_fields() -> dict[str, Any]:
    """The metadata of the packaged base model. Reading it takes a second."""
    return {name: field.contents() for name, field in GGUFReader(locate(SMOLLM2)).fields.items()}


def first_tokens(fields: dict[str, Any], count: int) -> dict[str, Any]:
    """Metadata whose tokenizer has the first `count` tokens only: each merge makes one token, in the same order."""
    tokens = fields["tokenizer.ggml.tokens"]
    merges = len(fields["tokenizer.ggml.merges"]) - (len(tokens) - count)
    return fields | {
        "tokenizer.ggml.tokens": tokens[:count],
        "tokenizer.ggml.token_type": fields["tokenizer.ggml.token_type"][:count],
        "tokenizer.ggml.merges": fields["tokenizer.ggml.merges"][:merges],
    }


def _shapes() -> dict[str, tuple[int, ...]]:
    narrow = WIDTH * KEYS // HEADS
    found: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCABULARY, WIDTH),
        "model.norm.weight": (WIDTH,),
    }
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        found |= {
            f"{at}.input_layernorm.weight": (WIDTH,),
            f"{at}.post_attention_layernorm.weight": (WIDTH,),
            f"{at}.self_attn.q_proj.weight": (WIDTH, WIDTH),
            f"{at}.self_attn.k_proj.weight": (narrow, WIDTH),
            f"{at}.self_attn.v_proj.weight": (narrow, WIDTH),
            f"{at}.self_attn.o_proj.weight": (WIDTH, WIDTH),
            f"{at}.mlp.gate_proj.weight": (INNER, WIDTH),
            f"{at}.mlp.up_proj.weight": (INNER, WIDTH),
            f"{at}.mlp.down_proj.weight": (WIDTH, INNER),
        }
    return found


def make_tiny(folder: Path, chat_template: str | None = None) -> None:
    """Write the model twice: `tiny-q4_1.gguf`, in the form of the packaged one, and `base`, as safetensors.

    Without a `chat_template` it has the packaged model's.
    """
    fields = first_tokens(packaged_fields(), VOCABULARY)
    if chat_template is not None:
        fields["tokenizer.chat_template"] = chat_template
    random = folder / "random"
    random.mkdir()
    generator = np.random.default_rng(7)
    shapes = _shapes()

    def produce(name: str) -> np.ndarray:
        shape = shapes[name]
        return generator.normal(0, 0.08, shape) if len(shape) > 1 else np.ones(shape)

    slots = [Slot(name, shape, kept_dtype(shape)) for name, shape in sorted(shapes.items())]
    safetensors_file.write(random / "model.safetensors", slots, produce)
    write_json(random / "tokenizer.json", tokenizer_json(fields))
    write_json(random / "tokenizer_config.json", tokenizer_config(fields))
    (random / "chat_template.jinja").write_text(fields["tokenizer.chat_template"])
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEYS,
        "head_dim": WIDTH // HEADS,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }
    write_json(random / "config.json", config)
    convert(random, folder / "f16.gguf", name="tiny")
    quantise(folder / "f16.gguf", folder / "tiny-q4_1.gguf", "q4_1")
    dequantise(folder / "tiny-q4_1.gguf", folder / "base")
