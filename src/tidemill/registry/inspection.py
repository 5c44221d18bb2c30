"""Judging the files of a model: what format they are, what they say, and whether they are safe to load."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tidemill.registry import gguf_header, pickles, safetensors_header
from tidemill.registry.chat_template import find_template, read_json, template_hash
from tidemill.registry.types import CorruptModelFile, Format, ModelFacts, ModelFilesMissing, UnknownModelFormat

TOKENIZER_FILES = frozenset({"tokenizer.model", "spiece.model", "sentencepiece.bpe.model"})
"""Binary side files that hold a SentencePiece vocabulary, which is data only."""

ADAPTER_CONFIG = "adapter_config.json"

_TEXT_LIMIT = 64 * 2**20


@dataclass(frozen=True)
class Inspection:
    """What the files of one version are."""

    format: Format
    adapter: bool
    facts: ModelFacts
    template: str | None
    licence: str | None

    @property
    def template_hash(self) -> str | None:
        """Return the hash of the chat template; None when there is none."""
        return template_hash(self.template)


def folder_files(root: Path) -> dict[str, Path]:
    """Return the files of a model folder (or the one file `root`) by relative path. Hidden files are left out.

    Raises ModelFilesMissing.
    """
    if root.is_file():
        return {root.name: root}
    if not root.is_dir():
        raise ModelFilesMissing(f"{root} is not there.", hint="Give a model file or a model folder.", param="path")
    paths = {}
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if path.is_file() and not any(part.startswith(".") for part in parts):
            paths["/".join(parts)] = path
    if not paths:
        raise ModelFilesMissing(f"{root} holds no files.", hint="Give a folder with a model in it.", param="path")
    return paths


def inspect(files: Mapping[str, Path]) -> Inspection:
    """Judge files given as path in the model's folder -> local file.

    Raises UnsafeModelFile, CorruptModelFile, UnknownModelFormat or ModelFilesMissing.
    """
    if not files:
        raise ModelFilesMissing("There are no files.", hint="Give at least one model file.", param="files")
    for label, path in files.items():
        pickles.check(path, label)
    weights = {label: path for label, path in files.items() if _suffix(label) in (".gguf", ".safetensors")}
    for label, path in files.items():
        if label not in weights:
            _check_side_file(label, path)
    ggufs = {label: path for label, path in weights.items() if _suffix(label) == ".gguf"}
    if ggufs and len(ggufs) < len(weights):
        raise UnknownModelFormat(
            "The files hold both GGUF and safetensors.",
            hint="Register them as two versions, each in its own folder.",
            param="files",
        )
    if ggufs:
        return _gguf(ggufs)
    if not weights:
        raise UnknownModelFormat(
            f"There is no .gguf and no .safetensors file among {', '.join(sorted(files)[:5])}.",
            hint="Only safetensors and GGUF are loaded. Convert the model first.",
            param="files",
        )
    return _adapter(files, weights) if ADAPTER_CONFIG in files else _safetensors(files, weights)


def _suffix(label: str) -> str:
    return PurePosixPath(label).suffix.lower()


def _check_side_file(label: str, path: Path) -> None:
    if PurePosixPath(label).name in TOKENIZER_FILES:
        return
    size = path.stat().st_size
    if size > _TEXT_LIMIT:
        raise UnknownModelFormat(
            f"{label} has {size} bytes and is neither GGUF nor safetensors.", hint="Leave it out.", param="files"
        )
    try:
        content = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        content = "\0"
    if "\0" in content:
        raise UnknownModelFormat(
            f"{label} is neither GGUF nor safetensors nor text.",
            hint="Keep only weights, configuration, tokenizer and documentation in the folder.",
            param="files",
        )


def _gguf(ggufs: Mapping[str, Path]) -> Inspection:
    if len(ggufs) > 1:
        raise UnknownModelFormat(
            f"There are {len(ggufs)} GGUF files: {', '.join(sorted(ggufs)[:5])}.",
            hint="Register one file for each version; join a split file with llama.cpp's gguf-split --merge.",
            param="files",
        )
    label, path = next(iter(ggufs.items()))
    header = gguf_header.read_header(path, label)
    architecture = header.text("general.architecture")
    adapter = header.text("general.type") == "adapter"
    if not header.tensors:
        raise CorruptModelFile(f"{label} holds no tensors.", hint="Export the model again.", param="files")
    ranks = {t.shape[-1] for t in header.tensors if t.name.endswith(".lora_a") and t.shape}
    alpha = header.metadata.get("adapter.lora.alpha")
    targets = {t.name.split(".")[-3] for t in header.tensors if t.name.endswith(".lora_a") and t.name.count(".") >= 3}
    facts = ModelFacts(
        architecture=architecture,
        parameters=sum(t.elements for t in header.tensors),
        tensors=len(header.tensors),
        layers=header.integer(f"{architecture}.block_count"),
        context_length=header.integer(f"{architecture}.context_length"),
        vocabulary=header.count("tokenizer.ggml.tokens") or header.integer(f"{architecture}.vocab_size"),
        quantisation=_gguf_quantisation(header),
        lora_rank=max(ranks) if adapter and ranks else None,
        lora_alpha=float(alpha) if adapter and isinstance(alpha, int | float) else None,
        target_modules=sorted(targets) if adapter else [],
    )
    licence = header.text("general.license")
    return Inspection("gguf", adapter, facts, header.text("tokenizer.chat_template"), licence)


def _gguf_quantisation(header: gguf_header.GgufHeader) -> str | None:
    named = gguf_header.file_types().get(header.integer("general.file_type") or 0)
    if "general.file_type" in header.metadata and named is not None:
        return named
    return _most((t.type, t.bytes) for t in header.tensors)


def _most(weighted: Any) -> str | None:
    total: Counter[str] = Counter()
    for name, weight in weighted:
        total[name] += weight
    return total.most_common(1)[0][0] if total else None


def _tensors(weights: Mapping[str, Path]) -> dict[str, list[safetensors_header.SafetensorsTensor]]:
    tensors = {label: safetensors_header.read_header(path, label).tensors for label, path in weights.items()}
    if not any(tensors.values()):
        raise CorruptModelFile(f"{', '.join(weights)} hold no tensors.", hint="Export the model again.", param="files")
    return tensors


def _safetensors(files: Mapping[str, Path], weights: Mapping[str, Path]) -> Inspection:
    if "config.json" not in files:
        raise UnknownModelFormat(
            "There is no config.json beside the safetensors file, so nothing says what the weights mean.",
            hint="Give the whole model folder, as transformers' save_pretrained writes it.",
            param="files",
        )
    _check_shards(files, weights)
    config = read_json(files["config.json"], "config.json")
    if config.get("auto_map"):
        raise UnknownModelFormat(
            "config.json asks for code of its own (auto_map), which is never run.",
            hint="Use a model whose architecture transformers has built in.",
            param="files",
        )
    tensors = [t for per_file in _tensors(weights).values() for t in per_file]
    facts = ModelFacts(
        architecture=_text(config.get("model_type")),
        parameters=sum(t.elements for t in tensors),
        tensors=len(tensors),
        layers=_integer(config.get("num_hidden_layers")),
        context_length=_integer(config.get("max_position_embeddings")),
        vocabulary=_integer(config.get("vocab_size")),
        quantisation=_most((t.dtype, t.end - t.begin) for t in tensors),
    )
    return Inspection("safetensors", False, facts, find_template(files), None)


def _check_shards(files: Mapping[str, Path], weights: Mapping[str, Path]) -> None:
    index = files.get("model.safetensors.index.json")
    if index is None:
        return
    shards = read_json(index, "model.safetensors.index.json").get("weight_map")
    missing = sorted(set(shards.values()) - set(weights)) if isinstance(shards, dict) else ["weight_map"]
    if missing:
        raise CorruptModelFile(
            f"model.safetensors.index.json names files that are not there: {', '.join(map(str, missing[:5]))}.",
            hint="Give all shards.",
            param="files",
        )


def _adapter(files: Mapping[str, Path], weights: Mapping[str, Path]) -> Inspection:
    if "adapter_model.safetensors" not in weights:
        raise UnknownModelFormat(
            "There is an adapter_config.json but no adapter_model.safetensors.",
            hint="Save the adapter with peft's save_pretrained.",
            param="files",
        )
    config = read_json(files[ADAPTER_CONFIG], ADAPTER_CONFIG)
    if config.get("peft_type") != "LORA":
        raise UnknownModelFormat(
            f"The adapter is of type {config.get('peft_type')!r}; only LORA is known.", param="files"
        )
    tensors = [t for per_file in _tensors(weights).values() for t in per_file]
    targets = config.get("target_modules")
    facts = ModelFacts(
        architecture="lora",
        parameters=sum(t.elements for t in tensors),
        tensors=len(tensors),
        quantisation=_most((t.dtype, t.end - t.begin) for t in tensors),
        base_model=_text(config.get("base_model_name_or_path")),
        lora_rank=_integer(config.get("r")),
        lora_alpha=float(config["lora_alpha"]) if isinstance(config.get("lora_alpha"), int | float) else None,
        target_modules=sorted(targets) if isinstance(targets, list) else [targets] if targets else [],
    )
    return Inspection("peft", True, facts, find_template(files), None)


def _integer(value: Any) -> int | None:
    return value if type(value) is int else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
