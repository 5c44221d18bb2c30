"""From a Hugging Face folder to one GGUF file in F16, without a loss: the folder's matrices are float16 already."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType  # noqa: TID253 - this module loads on first use
from numpy.typing import NDArray
from safetensors import safe_open  # noqa: TID253 - this module loads on first use

from tidemill.tuning.compress import llama
from tidemill.tuning.compress.dequantise import half
from tidemill.tuning.compress.files import read_json
from tidemill.tuning.compress.vocabulary import vocabulary_fields

_TYPES = {
    "uint32": (GGUFValueType.UINT32, None),
    "float32": (GGUFValueType.FLOAT32, None),
    "bool": (GGUFValueType.BOOL, None),
    "string": (GGUFValueType.STRING, None),
    "strings": (GGUFValueType.ARRAY, GGUFValueType.STRING),
    "int32s": (GGUFValueType.ARRAY, GGUFValueType.INT32),
}


def convert(folder: Path, target: Path, *, name: str, run: str | None = None) -> None:
    """Write the model in `folder` as an F16 GGUF file at `target`.

    `name` becomes `general.name`; `run`, the tuning run that made the model, is kept as `tidemill.run`.
    """
    config = read_json(folder / "config.json")
    fields = header_of(folder, config, name)
    if run is not None:
        fields["tidemill.run"] = ("string", run)
    with safe_open(folder / "model.safetensors", framework="np") as weights, writing(target) as writer:
        for key, (kind, value) in fields.items():
            value_type, sub_type = _TYPES[kind]
            writer.add_key_value(key, value, value_type, sub_type=sub_type)
        names = sorted(weights.keys(), key=lambda n: _order(llama.gguf_name(n)))
        for hf in names:
            shape = weights.get_slice(hf).get_shape()
            dtype = np.dtype(np.float16 if len(shape) > 1 else np.float32)
            size = int(np.prod(shape)) * dtype.itemsize
            kind_ = GGMLQuantizationType.F16 if len(shape) > 1 else GGMLQuantizationType.F32
            writer.add_tensor_info(llama.gguf_name(hf), shape, dtype, size, kind_)
        start_tensors(writer)
        for hf in names:
            writer.write_tensor_data(_tensor(weights.get_tensor(hf), hf, config))


def header_of(folder: Path, config: dict[str, Any], name: str) -> dict[str, tuple[str, Any]]:
    """Return the GGUF metadata of a Hugging Face folder: key -> (kind, value)."""
    fields: dict[str, tuple[str, Any]] = {
        "general.type": ("string", "model"),
        "general.name": ("string", name),
        "general.file_type": ("uint32", int(LlamaFileType.MOSTLY_F16)),
        "general.quantization_version": ("uint32", 2),
    }
    fields |= llama.fields_of(config)
    fields |= vocabulary_fields(
        read_json(folder / "tokenizer.json"), read_json(folder / "tokenizer_config.json"), int(config["vocab_size"])
    )
    template = folder / "chat_template.jinja"
    if template.exists():
        fields["tokenizer.chat_template"] = ("string", template.read_text(encoding="utf-8"))
    return fields


def _tensor(weight: NDArray[Any], name: str, config: dict[str, Any]) -> NDArray[Any]:
    if weight.ndim == 1:
        return weight.astype(np.float32)
    heads = llama.heads_of(name, config)
    weight = weight if weight.dtype == np.float16 else half(weight, name)
    return weight if heads is None else llama.interleave(weight, heads)


def _order(name: str) -> tuple[int, int, str]:
    """Embedding first, then the layers as numbers, then the rest."""
    if name.startswith("blk."):
        _, number, rest = name.split(".", 2)
        return (1, int(number), rest)
    return (0 if name.startswith("token_embd") else 2, 0, name)


@contextmanager
def writing(target: Path) -> Iterator[GGUFWriter]:
    """A GGUF writer whose file takes `target`'s place when the block ends well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    writer = GGUFWriter(part, "llama")
    try:
        yield writer
        writer.close()
        part.replace(target)
    finally:
        writer.close()  # once more does nothing; after an error it closes what is open
        part.unlink(missing_ok=True)


def start_tensors(writer: GGUFWriter) -> None:
    """Write everything that precedes the tensors."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()


def copy_fields(reader: GGUFReader, writer: GGUFWriter, changed: dict[str, Any]) -> None:
    """Copy the metadata of one GGUF file into another, with some values changed."""
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind = field.types[0]
        sub_type = field.types[-1] if kind == GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, changed.get(field.name, field.contents()), kind, sub_type=sub_type)
