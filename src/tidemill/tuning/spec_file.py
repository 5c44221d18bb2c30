"""A run described in YAML, with the key names of Axolotl, LLaMA-Factory and TRL understood as well as ours."""

from typing import Any

import yaml
from pydantic import ValidationError

from tidemill.core.errors import nearest
from tidemill.core.parsing import parse_yaml
from tidemill.core.value_faults import first_fault, sentence_of
from tidemill.tuning.types import InvalidTuningSpec, Lora, Training, TuneSubmit

ALIASES = {
    "base_model": "model",
    "model_name_or_path": "model",
    "finetuning_type": "method",
    "adapter": "method",
    "lora_r": "lora.rank",
    "lora_rank": "lora.rank",
    "r": "lora.rank",
    "lora_alpha": "lora.alpha",
    "lora_dropout": "lora.dropout",
    "lora_target_modules": "lora.targets",
    "lora_target": "lora.targets",
    "target_modules": "lora.targets",
    "sequence_len": "training.max_length",
    "cutoff_len": "training.max_length",
    "max_length": "training.max_length",
    "max_seq_length": "training.max_length",
    "micro_batch_size": "training.batch_size",
    "per_device_train_batch_size": "training.batch_size",
    "gradient_accumulation_steps": "training.gradient_accumulation",
    "num_epochs": "training.epochs",
    "num_train_epochs": "training.epochs",
    "lr": "training.learning_rate",
    "lr_scheduler": "training.schedule",
    "lr_scheduler_type": "training.schedule",
    "eval_steps": "training.eval_every",
    "save_steps": "training.checkpoint_every",
    "completion_only_loss": "training.completion_only",
    "assistant_only_loss": "training.completion_only",
}
"""Their name -> our path."""

OPPOSITES = {"train_on_inputs", "train_on_prompt"}
"""Keys that say the reverse of `training.completion_only`."""

NEEDLESS = {"sample_packing", "packing", "neat_packing", "packing_strategy", "group_by_length", "bf16", "fp16", "stage"}
"""Keys that are accepted without effect: rows are grouped by length and the precision is found out by a test."""

REFUSED = {
    "load_in_4bit": "Training on 4-bit weights is not offered; quantise afterwards with `then: [gguf:q4_k_m]`.",
    "load_in_8bit": "Training on 8-bit weights is not offered; quantise afterwards with `then: [gguf:q8_0]`.",
    "quantization_bit": "Training on quantised weights is not offered; quantise afterwards with `then`.",
    "rl": "Only supervised fine-tuning is offered so far.",
    "val_set_size": "The splits belong to the dataset version; choose one with `eval_split`.",
    "val_size": "The splits belong to the dataset version; choose one with `eval_split`.",
    "template": "The model's own chat template is used, the one it is served with.",
    "chat_template": "The model's own chat template is used, the one it is served with.",
    "chat_template_path": "The model's own chat template is used, the one it is served with.",
}

_TOP = tuple(TuneSubmit.model_fields)
_NESTED = {
    **{name: f"training.{name}" for name in Training.model_fields},
    **{name: f"lora.{name}" for name in Lora.model_fields},
}


def read(text: str) -> TuneSubmit:
    """Return a spec from YAML. Raises InvalidTuningSpec, which names the key."""
    return build(mapping(text))


def mapping(text: str) -> dict[str, Any]:
    """Return the keys of a YAML text, as they stand there."""
    try:
        keys = parse_yaml(text)
    except yaml.YAMLError as error:
        raise InvalidTuningSpec(f"The spec is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(keys, dict):
        raise InvalidTuningSpec("The spec is not a mapping.", hint="Begin with `model: smollm2` and `dataset: …`.")
    return {str(key): _number(value) for key, value in keys.items()}


def _number(value: Any) -> Any:
    """YAML 1.1 reads `1e-3` as text; every trainer means the number."""
    try:
        return float(value) if isinstance(value, str) and value[:1].isdigit() else value
    except ValueError:
        return value


def has(keys: dict[str, Any], name: str) -> bool:
    """Return whether some key means our `name`."""
    return any(key == name or ALIASES.get(key) == name for key in keys)


def build(keys: dict[str, Any]) -> TuneSubmit:
    """Return a spec from keys in any of the four dialects."""
    fields: dict[str, Any] = {}
    for key, value in keys.items():
        _place(fields, str(key), value)
    try:
        return TuneSubmit.model_validate(fields)
    except ValidationError as error:
        raise InvalidTuningSpec(f"{sentence_of(error)}.", param=first_fault(error)[0] or None) from error


def _place(fields: dict[str, Any], key: str, value: Any) -> None:
    if key in ("lora", "training", "proof") and isinstance(value, dict):
        fields.setdefault(key, {}).update(value)
    elif key in _TOP:
        fields[key] = value
    elif key in REFUSED:
        if value not in (False, None, 0):
            raise InvalidTuningSpec(f"{key}: {value!r} is not possible here.", hint=REFUSED[key], param=key)
    elif key in OPPOSITES:
        fields.setdefault("training", {})["completion_only"] = not value
    elif key in ALIASES or key in _NESTED:
        path = ALIASES.get(key) or _NESTED[key]
        _set(fields, path, _value(path, key, value))
    elif key not in NEEDLESS or (key == "stage" and value != "sft"):
        near = nearest(key, [*_TOP, *ALIASES, *_NESTED])
        hint = f"Did you mean {', '.join(near)}?" if near else None
        raise InvalidTuningSpec(f"There is no key {key!r} with the value {value!r}.", hint=hint, param=key)


def _value(path: str, key: str, value: Any) -> Any:
    if path == "method" and value in ("qlora", "oft", "freeze"):
        raise InvalidTuningSpec(f"{key}: {value!r} is not offered.", hint="Use lora or full.", param=key)
    if path == "lora.targets" and isinstance(value, str):
        named = Lora().targets if value in ("all", "all-linear") else [part.strip() for part in value.split(",")]
        return list(named)
    return value


def _set(fields: dict[str, Any], path: str, value: Any) -> None:
    *folders, name = path.split(".")
    for folder in folders:
        fields = fields.setdefault(folder, {})
    fields[name] = value
