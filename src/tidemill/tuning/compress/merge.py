"""A LoRA adapter added into the weights of its base: W + scale * B A."""

import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.tuning.compress import safetensors_file
from tidemill.tuning.compress.dequantise import half
from tidemill.tuning.compress.files import read_json
from tidemill.tuning.compress.safetensors_file import Slot, kept_dtype
from tidemill.tuning.types import UnsupportedModel

COPIED = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def merge(base: Path, adapter: Path, target: Path) -> None:
    """Write `base` with `adapter` merged in to `target`, as float16. The sum is taken in float32.

    Raises UnsupportedModel for adapters that are more than LoRA on linear layers (DoRA, biases, saved modules).
    """
    from safetensors import safe_open

    settings = read_json(adapter / "adapter_config.json")
    _check(settings)
    low = _factors(adapter / "adapter_model.safetensors")
    target.mkdir(parents=True, exist_ok=True)
    with safe_open(base / "model.safetensors", framework="np") as weights:
        slots = []
        for name in sorted(weights.keys()):
            shape = tuple(weights.get_slice(name).get_shape())
            slots.append(Slot(name, shape, kept_dtype(shape)))
        missing = sorted(set(low) - {s.name for s in slots})
        if missing:
            raise UnsupportedModel(f"The adapter changes {missing[0]!r}, which the base does not have.")

        def produce(name: str) -> NDArray[Any]:
            weight = weights.get_tensor(name).astype(np.float32)
            if name in low:
                a, b = low[name]
                weight = weight + scale_of(settings, a.shape[0]) * (b @ a)
            return half(weight, name) if weight.ndim > 1 else weight

        safetensors_file.write(target / "model.safetensors", slots, produce)
    copy_side_files(base, target)


def copy_side_files(base: Path, target: Path) -> None:
    """Give a tuned model the config, tokenizer and chat template of its base."""
    for name in COPIED:
        if (base / name).exists():
            shutil.copyfile(base / name, target / name)
            (target / name).chmod(0o644)


def scale_of(settings: dict[str, Any], rank: int) -> float:
    """Return what B A is multiplied by: alpha / r, or alpha / sqrt(r) for rank-stabilised LoRA."""
    alpha = float(settings["lora_alpha"])
    return alpha / math.sqrt(rank) if settings.get("use_rslora") else alpha / rank


def _check(settings: dict[str, Any]) -> None:
    for key in ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "fan_in_fan_out"):
        if settings.get(key):
            raise UnsupportedModel(f"The adapter uses {key}, which merging does not know.")
    if settings.get("peft_type") != "LORA" or settings.get("bias", "none") != "none":
        raise UnsupportedModel("The adapter is not a LoRA on weights alone.")


def _factors(path: Path) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Return the pairs (A, B) of an adapter by the name of the weight they change."""
    from safetensors import safe_open

    factors: dict[str, dict[str, NDArray[Any]]] = {}
    with safe_open(path, framework="np") as file:
        for key in sorted(file.keys()):
            match = re.fullmatch(r"base_model\.model\.(.+)\.lora_([AB])\.weight", key)
            if match is None:
                raise UnsupportedModel(f"The adapter holds {key!r}, which is not a LoRA factor.")
            factors.setdefault(f"{match[1]}.weight", {})[match[2]] = file.get_tensor(key).astype(np.float32)
    return {name: (pair["A"], pair["B"]) for name, pair in factors.items()}
