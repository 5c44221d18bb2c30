"""Small but real model files."""

import json
from pathlib import Path

import gguf
import numpy as np

TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}\n"


def write_gguf(path: Path, *, template: str | None = TEMPLATE, seed: int = 0) -> Path:
    """A GGUF file with two tensors, written by the format's own library."""
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(512)
    writer.add_block_count(2)
    writer.add_license("mit")
    writer.add_token_list(["a", "b", "c"])
    writer.add_array("test.numbers", [1, 2, 3])
    if template is not None:
        writer.add_chat_template(template)
    numbers = np.random.default_rng(seed)
    writer.add_tensor("token_embd.weight", numbers.random((3, 64), dtype=np.float32))
    quantised = gguf.quantize(numbers.random((4, 64), dtype=np.float32), gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("blk.0.ffn.weight", quantised, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_adapter_gguf(path: Path) -> Path:
    """A LoRA adapter as GGUF."""
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 16.0)
    writer.add_tensor("blk.0.attn_q.weight.lora_a", np.ones((4, 64), dtype=np.float32))
    writer.add_tensor("blk.0.attn_q.weight.lora_b", np.ones((64, 4), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def safetensors_bytes(tensors: dict[str, np.ndarray]) -> bytes:
    """A safetensors file after the format's description."""
    header, data = {}, b""
    for name, array in tensors.items():
        raw = array.astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def write_folder(folder: Path, *, template_in: str = "jinja") -> Path:
    """A transformers folder; the chat template stands in `jinja` or in `config`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "llama", "num_hidden_layers": 2, "max_position_embeddings": 512, "vocab_size": 3}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(safetensors_bytes({"w": np.ones((3, 8)), "b": np.ones(8)}))
    if template_in == "jinja":
        (folder / "chat_template.jinja").write_text(TEMPLATE)
        (folder / "tokenizer_config.json").write_text("{}")
    else:
        (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    return folder


def write_adapter(folder: Path) -> Path:
    """A PEFT adapter folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": "smollm2",
        "r": 8,
        "lora_alpha": 16,
        "target_modules": ["v_proj", "q_proj"],
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").write_bytes(safetensors_bytes({"lora_A": np.ones((8, 4))}))
    return folder
