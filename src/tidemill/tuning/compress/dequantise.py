"""From one GGUF file to a folder that transformers and peft can load."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.tuning.compress import llama, safetensors_file
from tidemill.tuning.compress.files import write_json
from tidemill.tuning.compress.safetensors_file import Slot, kept_dtype
from tidemill.tuning.compress.vocabulary import tokenizer_config, tokenizer_json


def dequantise(source: Path, target: Path) -> None:
    """Write the weights of the GGUF file `source` as float16 safetensors with config and tokenizer into `target`.

    Nothing is lost beyond float16's rounding: the file's own grid is finer than the quantisation it came from.
    """
    from gguf import GGUFReader
    from gguf.quants import dequantize

    reader = GGUFReader(source)
    fields: dict[str, Any] = {name: field.contents() for name, field in reader.fields.items()}
    tensors = {llama.hf_name(t.name): t for t in reader.tensors if t.name != "rope_freqs.weight"}
    config = llama.config_of(fields, tied="lm_head.weight" not in tensors)
    slots = []
    for name in sorted(tensors):
        shape = tuple(int(n) for n in reversed(tensors[name].shape))
        slots.append(Slot(name, shape, kept_dtype(shape)))

    def produce(name: str) -> NDArray[Any]:
        tensor = tensors[name]
        weight = dequantize(tensor.data, tensor.tensor_type)
        heads = llama.heads_of(name, config)
        weight = weight if heads is None else llama.deinterleave(weight, heads)
        return half(weight, name) if weight.ndim > 1 else weight

    target.mkdir(parents=True, exist_ok=True)
    safetensors_file.write(target / "model.safetensors", slots, produce)
    write_json(target / "tokenizer.json", tokenizer_json(fields))
    write_json(target / "tokenizer_config.json", tokenizer_config(fields))
    stop = {k: config[k] for k in ("bos_token_id", "eos_token_id", "pad_token_id")}
    write_json(target / "generation_config.json", stop)
    template = fields.get("tokenizer.chat_template")
    if template is not None:
        (target / "chat_template.jinja").write_text(template, encoding="utf-8")
    write_json(target / "config.json", config)


def half(weight: NDArray[Any], name: str) -> NDArray[Any]:
    """Return `weight` as float16. Raises OverflowError when a value does not fit (65,504 is the largest)."""
    largest = float(np.abs(weight).max(initial=0.0))
    if not largest <= 65504.0:
        raise OverflowError(f"{name} holds {largest:g}, which float16 cannot")
    return weight.astype(np.float16)
