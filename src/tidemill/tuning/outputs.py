"""What training leaves behind, in the forms that peft and transformers read."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.tuning.compress import safetensors_file
from tidemill.tuning.compress.dequantise import half
from tidemill.tuning.compress.files import read_json, write_json
from tidemill.tuning.compress.merge import copy_side_files
from tidemill.tuning.compress.safetensors_file import Slot, kept_dtype

PROVENANCE = "tidemill.json"
"""File beside the weights that says which run made them; it also keeps two equal trainings apart."""


def write_adapter(model: Any, base: Path, folder: Path) -> None:
    """Write a peft adapter with the chat template it was trained under."""
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, safe_serialization=True)
    settings = read_json(folder / "adapter_config.json")
    # peft lists the targets from a set, in another order every time; equal adapters should have equal hashes.
    settings["target_modules"] = sorted(settings["target_modules"])
    write_json(folder / "adapter_config.json", settings)
    (folder / "README.md").unlink(missing_ok=True)
    if (base / "chat_template.jinja").exists():
        (folder / "chat_template.jinja").write_bytes((base / "chat_template.jinja").read_bytes())


def write_model(model: Any, base: Path, folder: Path) -> None:
    """Write a fully tuned model as float16, with the config and tokenizer of its base."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    weights = dict(model.named_parameters())  # tied weights appear once
    slots = [Slot(n, tuple(p.shape), kept_dtype(p.shape)) for n, p in sorted(weights.items())]

    def produce(name: str) -> NDArray[Any]:
        weight: NDArray[Any] = weights[name].detach().cpu().float().numpy()
        return half(weight, name) if weight.ndim > 1 else weight.astype(np.float32)

    safetensors_file.write(folder / "model.safetensors", slots, produce)
    copy_side_files(base, folder)
