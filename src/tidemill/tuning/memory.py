"""How much memory a run will need, so that one that cannot fit is refused before it starts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from tidemill.core.terminal import size
from tidemill.tuning.types import Lora, MemoryEstimate, Method, NotEnoughMemory, Training

RUNTIME = 800 * 2**20
"""Bytes that Python, torch and transformers take before there is a model (measured)."""

MICRO_BATCH_TOKENS = 2048
"""Most tokens in one forward and backward pass where memory allows it; keeps the base model within 6 GiB."""

LOSS_ROWS = 256
"""Positions whose logits are in memory at a time."""

LONGEST_PLAIN_ATTENTION = 128
"""Longest row in tokens for the plain attention on a processor, which keeps its matrices."""

NO_GRAD_TOKENS = 4096
"""Most tokens in a pass that keeps nothing for a backward pass."""


def estimate(
    config: Mapping[str, Any], method: Method, lora: Lora, training: Training, *, longest: int, prefix: int = 0
) -> MemoryEstimate:
    """Return peak memory in bytes of training a llama-like model with rows of at most `longest` tokens.

    Without `micro_batch_tokens` in `training`, the bound on the tokens of a pass is 2048, halved until the run fits
    into what is free or a single row fills the pass. `prefix`: leading tokens that are computed once a pass.
    """
    available = available_bytes()
    bound = training.micro_batch_tokens or MICRO_BATCH_TOKENS
    parts = _parts(config, method, lora, training, bound=bound, longest=longest, prefix=prefix)
    while training.micro_batch_tokens is None and sum(parts.values()) > available and bound > max(longest, 16):
        bound //= 2
        parts = _parts(config, method, lora, training, bound=bound, longest=longest, prefix=prefix)
    total = sum(parts.values())
    return MemoryEstimate(
        bytes=total, parts=parts, available=available, fits=total <= available, micro_batch_tokens=bound
    )


def _parts(
    config: Mapping[str, Any], method: Method, lora: Lora, training: Training, *, bound: int, longest: int, prefix: int
) -> dict[str, int]:
    """Return bytes by purpose. Weights and gradients are float32, frozen weights rounded under bf16."""
    width, depth = int(config["hidden_size"]), int(config["num_hidden_layers"])
    inner, vocabulary = int(config["intermediate_size"]), int(config["vocab_size"])
    heads = int(config["num_attention_heads"])
    keys = width * int(config.get("num_key_value_heads") or heads) // heads
    block = 2 * width * width + 2 * width * keys + 3 * width * inner
    tied = bool(config.get("tie_word_embeddings"))
    weights = depth * block + vocabulary * width * (1 if tied else 2)
    bf16 = _bf16(training)
    # Frozen layers are held rounded under bf16, beside the embedding in float32; a trained one is rounded in each pass.
    rounded = 2 * (depth * block + vocabulary * width) if bf16 else 0
    weight_bytes = 4 * vocabulary * width + rounded if bf16 and method == "lora" else 4 * weights + rounded
    trained = weights if method == "full" else _lora_weights(lora, width, keys, inner, depth)
    reached = depth if method == "full" else min(depth, lora.last_layers or depth)
    rows = min(training.batch_size, max(1, (bound - prefix) // max(1, longest - prefix)))
    tokens = min(training.batch_size * max(1, longest - prefix) + prefix, max(bound, longest))
    # Inputs and outputs of the linear layers, norms in float32, the two halves of the gate, rotated heads.
    # bf16 keeps as much (measured): norms and adapters stay in float32, and rounded copies come beside them.
    block_token = 4 * (9 * width + 4 * keys + 5 * inner)
    activations = tokens * block_token * reached
    scores = 3 * 4 * heads * rows * longest * longest * reached if longest <= LONGEST_PLAIN_ATTENTION else 0
    if training.gradient_checkpointing:  # a block's input each, and one block
        activations, scores = tokens * (4 * width * reached + block_token), scores // reached
    parts = {
        "runtime": RUNTIME,
        "weights": weight_bytes,
        "gradients": 4 * trained,
        "optimiser": 8 * trained,
        "activations": round(activations + scores),
        "logits": 4 * 4 * vocabulary * min(tokens, LOSS_ROWS),
    }
    if method == "full":
        parts["checkpoint"] = 4 * weights
    return parts


def _bf16(training: Training) -> bool:
    """Return whether the trainer will take matrix products in bf16: it tests that itself, where `precision` is auto."""
    if training.precision != "auto":
        return training.precision == "bf16"
    try:
        return bool({"avx512_bf16", "amx_bf16"} & set(Path("/proc/cpuinfo").read_text().split()))
    except OSError:
        return False


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
    less = "set gradient_checkpointing to true" if not training.gradient_checkpointing else "use the method lora"
    raise NotEnoughMemory(
        f"The run needs about {size(estimated.bytes)}, and {size(estimated.available)} are free; "
        f"most goes into {largest} ({size(estimated.parts[largest])}).",
        hint=f"Lower micro_batch_tokens (now {estimated.micro_batch_tokens}; a batch of {training.batch_size} rows is "
        f"cut to it), lower max_length (now {training.max_length}), or {less}.",
        param="training",
        details={"bytes": estimated.bytes, "available": estimated.available, "parts": estimated.parts},
    )
