"""The model in training: loading, the adapter, the loss of a batch, evaluation and greedy answers.

torch, transformers and peft load inside the functions: the server process never holds them.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tidemill.tuning.batches import TrainingExample, micro_batches, shared_tokens
from tidemill.tuning.chunked_loss import chunked_loss
from tidemill.tuning.memory import LONGEST_PLAIN_ATTENTION, LOSS_ROWS, NO_GRAD_TOKENS
from tidemill.tuning.types import Lora, Precision


class Device(NamedTuple):
    """Where to compute (`cpu`, `cuda`), and whether matrix products are taken in bf16."""

    name: str
    bf16: bool

    def autocast(self) -> Any:
        """Return a context in which matrix products are taken in bf16, if that is the form."""
        import torch

        return torch.autocast(self.name, dtype=torch.bfloat16, enabled=self.bf16)


def choose_device(precision: Precision) -> Device:
    """Return a GPU when there is one, else the CPU; bf16 when it makes matrix products at least a fifth faster."""
    import torch

    name = "cuda" if torch.cuda.is_available() else "cpu"
    if precision != "auto":
        return Device(name, precision == "bf16")
    if name == "cuda":
        return Device(name, torch.cuda.is_bf16_supported())
    return Device(name, _seconds(torch.bfloat16) < 0.8 * _seconds(torch.float32))


def _seconds(dtype: Any) -> float:
    import torch

    a, b = torch.ones(512, 768, dtype=dtype), torch.ones(1536, 768, dtype=dtype)
    times = []
    for _ in range(6):
        start = time.perf_counter()
        torch.nn.functional.linear(a, b)
        times.append(time.perf_counter() - start)
    return min(times)


def load(folder: Path, device: Device) -> Any:
    """Return the model in `folder` with float32 weights, on the device."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    return model.to(device.name)


def _choose_attention(inner: Any, longest: int, device: Device) -> None:
    """Set the attention for rows of at most `longest` tokens: a function of the length alone, so runs repeat."""
    attention = "eager" if device.name == "cpu" and longest <= LONGEST_PLAIN_ATTENTION else "sdpa"
    if inner.config._attn_implementation != attention:
        inner.set_attn_implementation(attention)


def add_lora(model: Any, lora: Lora, device: Device, *, name: str) -> Any:
    """Return `model`, frozen, with adapters in float32 beside its linear layers."""
    import torch
    from peft import LoraConfig, get_peft_model

    layers = int(model.config.num_hidden_layers)
    chosen = None if lora.last_layers is None else list(range(max(0, layers - lora.last_layers), layers))
    if device.bf16:
        # Autocast would round these frozen weights to bf16 in every forward pass; once is enough and is the same.
        # A new parameter, not new data: the output layer may share its weights with the embedding, which stays.
        for module in model.modules():
            if isinstance(module, torch.nn.Linear):
                rounded = module.weight.data.to(torch.bfloat16)
                module.weight = torch.nn.Parameter(rounded, requires_grad=False)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets),
        layers_to_transform=chosen,
        task_type="CAUSAL_LM",
        base_model_name_or_path=name,
    )
    model.name_or_path = name  # peft would write the folder of this machine into the adapter
    adapted = get_peft_model(model, config, autocast_adapter_dtype=False)
    for key, weight in adapted.named_parameters():
        if "lora_" in key:
            weight.data = weight.data.float()
    return adapted


class Loss(NamedTuple):
    """Sums over a batch: the loss in nats (a tensor with its graph), tokens in the loss, rows predicted in full."""

    nats: Any
    tokens: int
    exact: int


def batch_loss(model: Any, examples: Sequence[TrainingExample], prefix: int, device: Device) -> Loss:
    """Return the loss of a batch whose rows share their first `prefix` tokens.

    The shared tokens are computed once and every row reads their keys and values; gradients flow back
    through them. Logits are computed only where the loss mask is set, some positions at a time. All is exact.
    """
    import torch

    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    width = max(len(e.ids) for e in examples) - prefix
    _choose_attention(inner, prefix + width, device)
    ids = torch.zeros(len(examples), width, dtype=torch.long)
    targets = torch.full((len(examples), width), -100, dtype=torch.long)
    for row, example in enumerate(examples):
        rest = example.ids[prefix:]
        ids[row, : len(rest)] = torch.tensor(rest)
        labels = [t if c else -100 for t, c in zip(rest, example.loss_mask[prefix:], strict=True)]
        targets[row, : len(rest) - 1] = torch.tensor(labels[1:], dtype=torch.long)
    ids, targets = ids.to(device.name), targets.to(device.name)
    with device.autocast():
        # Rows are padded on the right, behind all that counts; a causal model never looks there.
        shared_kv = _shared_kv(inner, examples[0].ids[:prefix], len(examples), device) if prefix else None
        hidden = inner.get_decoder()(input_ids=ids, past_key_values=shared_kv, use_cache=shared_kv is not None)[0]
        rows, columns = (targets != -100).nonzero(as_tuple=True)
        target_ids = targets[rows, columns]
        nats, best = chunked_loss(hidden[rows, columns], target_ids, inner.get_output_embeddings(), LOSS_ROWS)
    missed = rows[best != target_ids].unique().numel()
    return Loss(nats, int(target_ids.numel()), len(examples) - missed)


def _shared_kv(inner: Any, prefix: Sequence[int], rows: int, device: Device) -> Any:
    """Return the keys and values of the shared tokens, computed once and expanded to every row."""
    import torch

    ids = torch.tensor([list(prefix)], device=device.name)
    cache = inner.get_decoder()(input_ids=ids, use_cache=True).past_key_values
    for layer in cache.layers:
        layer.keys = layer.keys.expand(rows, -1, -1, -1)
        layer.values = layer.values.expand(rows, -1, -1, -1)
    return cache


def evaluate(model: Any, examples: Sequence[TrainingExample], prefix: int, device: Device) -> tuple[float, float]:
    """Return the mean loss in nats a token of the loss mask, and the share of rows predicted in full."""
    import torch

    model.eval()
    nats, tokens, exact = 0.0, 0, 0
    ordered = sorted(examples, key=lambda e: len(e.ids))
    with torch.no_grad():
        for start in range(0, len(ordered), 64):
            for part in micro_batches(ordered[start : start + 64], NO_GRAD_TOKENS, prefix):
                loss = batch_loss(model, part, prefix, device)
                nats, tokens, exact = nats + float(loss.nats), tokens + loss.tokens, exact + loss.exact
    model.train()
    return nats / tokens, exact / len(examples)


def greedy(
    model: Any, prompts: Sequence[Sequence[int]], device: Device, *, max_tokens: int, stop: set[int]
) -> list[list[int]]:
    """Return the greedy answer to each prompt: token ids in, token ids out, without the end token."""
    import torch

    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    answers: list[list[int]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    same = shared_tokens(prompts)
    model.eval()
    with torch.no_grad(), device.autocast():
        while order:
            # Ordered by length: the first rows whose keys and values, padded to the longest, are within the bound.
            size = next(n for n in range(32, 0, -1) if n == 1 or _fits(prompts, order[:n], max_tokens))
            group, order = order[:size], order[size:]
            _choose_attention(inner, max(len(prompts[i]) for i in group) + max_tokens, device)
            ids, mask = _pad_left([prompts[i][same:] for i in group], device)
            cache, alive = None, set(group)
            if same:
                cache = _shared_kv(inner, prompts[group[0]][:same], len(group), device)
                mask = torch.cat([torch.ones(len(group), same, dtype=mask.dtype, device=mask.device), mask], dim=-1)
            for _ in range(max_tokens):
                places = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
                out = inner(
                    input_ids=ids,
                    attention_mask=mask,
                    position_ids=places,
                    past_key_values=cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
                cache, chosen = out.past_key_values, out.logits[:, -1].argmax(-1)
                for index, token in zip(group, chosen.tolist(), strict=True):
                    if token in stop:
                        alive.discard(index)
                    elif index in alive:
                        answers[index].append(token)
                if not alive:
                    break
                ids = chosen[:, None]
                mask = torch.cat([mask, torch.ones_like(ids)], dim=-1)
    return answers


def _fits(prompts: Sequence[Sequence[int]], group: Sequence[int], max_tokens: int) -> bool:
    return len(group) * (max(len(prompts[i]) for i in group) + max_tokens) <= NO_GRAD_TOKENS


def _pad_left(prompts: Sequence[Sequence[int]], device: Device) -> tuple[Any, Any]:
    """Return token ids with padding on the left, and the mask that hides it, both (prompts, width)."""
    import torch

    width = max(len(p) for p in prompts)
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(list(prompt))
        mask[row, width - len(prompt) :] = 1
    return ids.to(device.name), mask.to(device.name)
