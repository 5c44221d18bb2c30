"""How much memory a run will need, so that one that cannot fit is refused before it starts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from tidemill.core.terminal import size
from tidemill.tuning.types import Lora, MemoryEstimate, Method, NotEnoughMemory, Training

RUNTIME = 800 * 2**20
"""Bytes that Python, torch and transformers take before there is a model (measured)."""

EVAL_ROWS = 64
"""Rows of one evaluation batch in `model.evaluate`."""


def estimate(
    config: Mapping[str, Any], method: Method, lora: Lora, training: Training, *, longest: int, prefix: int = 0
) -> MemoryEstimate:
    """Return peak memory in bytes of training a llama-like model with rows of at most `longest` tokens.

    Weights are float32 (frozen linear ones half of that under bf16, which is not counted on), gradients and both
    moments of AdamW float32. Activations per token and block: what the backward pass keeps, counted from the layers'
    widths. `prefix`: leading tokens that are computed once a batch.
    """
    width, depth = int(config["hidden_size"]), int(config["num_hidden_layers"])
    inner, vocabulary = int(config["intermediate_size"]), int(config["vocab_size"])
    heads = int(config["num_attention_heads"])
    keys = width * int(config.get("num_key_value_heads") or heads) // heads
    block = 2 * width * width + 2 * width * keys + 3 * width * inner
    tied = bool(config.get("tie_word_embeddings"))
    weights = depth * block + vocabulary * width * (1 if tied else 2)
    trained = weights if method == "full" else _lora_weights(lora, width, keys, inner, depth)
    reached = depth if method == "full" else min(depth, lora.last_layers or depth)
    rows = training.batch_size
    tokens = rows * max(1, longest - prefix) + prefix
    # Inputs and outputs of the linear layers, norms in float32, the two halves of the gate, rotated heads.
    kept_token = 4 * (9 * width + 4 * keys + 5 * inner)
    activations = tokens * kept_token * (2 if training.gradient_checkpointing else reached)
    scores = 3 * 4 * heads * rows * longest * longest * (1 if training.gradient_checkpointing else reached)
    logits = 4 * 3 * vocabulary * min(tokens, max(rows, EVAL_ROWS) * max(8, longest // 3))
    parts = {
        "runtime": RUNTIME,
        "weights": 4 * weights,
        "gradients": 4 * trained,
        "optimiser": 8 * trained,
        "activations": activations + scores,
        "logits": logits,
    }
    if method == "full":
        parts["checkpoint"] = 4 * weights
    total = sum(parts.values())
    available = available_bytes()
    return MemoryEstimate(bytes=total, parts=parts, available=available, fits=total <= available)


def _lora_weights(lora: Lora, width: int, keys: int, inner: int, depth: int) -> int:
    sides = {
        "q_proj": 2 * width,
        "k_proj": width + keys,
        "v_proj": width + keys,
        "o_proj": 2 * width,
        "gate_proj": width + inner,
        "up_proj": width + inner,
        "down_proj": width + inner,
    }
    layers = min(depth, lora.last_layers or depth)
    return layers * lora.rank * sum(sides.get(t, width + inner) for t in lora.targets)


def available_bytes() -> int:
    """Return bytes that a new process can take: what the machine has free, or less when a control group says so."""
    free = int(psutil.virtual_memory().available)
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            most, now = Path(limit).read_text().strip(), Path(used).read_text().strip()
        except OSError:
            continue
        if most.isdecimal():
            free = min(free, max(0, int(most) - int(now)))
    return free


def check(estimated: MemoryEstimate, training: Training) -> None:
    """Raise NotEnoughMemory when a run needs more than is available."""
    if estimated.fits:
        return
    largest = max(estimated.parts, key=lambda part: estimated.parts[part])
    less = "gradient_checkpointing" if not training.gradient_checkpointing else "method lora"
    raise NotEnoughMemory(
        f"The run needs about {size(estimated.bytes)}, and {size(estimated.available)} are free; "
        f"most goes into {largest} ({size(estimated.parts[largest])}).",
        hint=f"Lower batch_size (now {training.batch_size}) and raise gradient_accumulation, lower max_length "
        f"(now {training.max_length}), or use {less}.",
        param="training",
        details={"bytes": estimated.bytes, "available": estimated.available, "parts": estimated.parts},
    )
