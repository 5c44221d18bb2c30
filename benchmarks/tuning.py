"""Tuning tokens/s against a plain transformers + peft loop, step by step in turn, in one process.

    python benchmarks/tuning.py [--steps 6]
    python benchmarks/tuning.py --steps 1 --batch 2    # the smallest

Both train a LoRA of rank 16 on the packaged model with the same rows, padding, optimiser, autocast and threads.
Tokens are those of the rows, padding excluded. The first case has rows with nothing in common: the ratio is the
overhead of our loop. In the second, rows share a system prompt, which ours computes once a batch.
"""

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tidemill.registry.packaged import SMOLLM2, locate
from tidemill.tuning import model as training_model
from tidemill.tuning.batches import TrainingExample, shared_prefix
from tidemill.tuning.compress.dequantise import dequantise
from tidemill.tuning.types import Lora

Batch = list[TrainingExample]


def rows(count: int, prefix: int, rng: random.Random) -> Batch:
    """Rows of 24 to 40 tokens of their own, the last 8 of which count."""
    shared = [rng.randrange(100, 40_000) for _ in range(prefix)]
    examples = []
    for _ in range(count):
        own = [rng.randrange(100, 40_000) for _ in range(rng.randint(24, 40))]
        ids = shared + own
        examples.append(TrainingExample(ids, [False] * (len(ids) - 8) + [True] * 8))
    return examples


def plain(folder: Path, device: training_model.Device) -> Callable[[Batch], None]:
    """The loop that a careful person writes with transformers and peft alone."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    lora = Lora()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=list(lora.targets), task_type="CAUSAL_LM")
    model = get_peft_model(model, config).train()
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=1e-4)

    def step(batch: Batch) -> None:
        width = max(len(e.ids) for e in batch)
        ids = torch.tensor([e.ids + [0] * (width - len(e.ids)) for e in batch])
        mask = torch.tensor([[1] * len(e.ids) + [0] * (width - len(e.ids)) for e in batch])
        loss_mask = torch.tensor([e.loss_mask + [False] * (width - len(e.loss_mask)) for e in batch])
        labels = torch.where(loss_mask, ids, -100)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=device.bf16):
            loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


def ours(folder: Path, device: training_model.Device) -> Callable[[Batch], None]:
    """What `tidemill.tuning.train` does in a step."""
    import torch

    model = training_model.add_lora(training_model.load(folder, device), Lora(), device, name="base").train()
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=1e-4)

    def step(batch: Batch) -> None:
        loss = training_model.batch_loss(model, batch, shared_prefix(batch), device)
        (loss.nats / loss.tokens).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


def rates(steps: Sequence[Callable[[Batch], None]], batches: Sequence[Batch]) -> list[list[float]]:
    """Tokens/s of every step of every loop; the loops take turns, so that the machine's moods hit both."""
    rates_of_step: list[list[float]] = [[] for _ in steps]
    for number, batch in enumerate(batches):
        tokens = sum(len(e.ids) for e in batch)
        for index, step in enumerate(steps):
            start = time.perf_counter()
            step(batch)
            if number:  # the first one warms up
                rates_of_step[index].append(tokens / (time.perf_counter() - start))
    return rates_of_step


def main() -> None:
    """Print the rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6, help="steps of each loop; one more warms up")
    parser.add_argument("--batch", type=int, default=16, help="rows in a step")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    import torch

    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as home:
        dequantise(locate(SMOLLM2), Path(home))
        device = training_model.choose_device("auto")
        loops = [plain(Path(home), device), ours(Path(home), device)]
        for label, prefix in (("rows with nothing in common", 0), ("rows with a shared prompt of 33 tokens", 33)):
            rng = random.Random(1)
            loop_rates = rates(loops, [rows(args.batch, prefix, rng) for _ in range(args.steps + 1)])
            theirs, mine = (statistics.median(r) for r in loop_rates)
            sys.stdout.write(
                f"{label}: plain {theirs:.0f} tokens/s, tidemill {mine:.0f} tokens/s, "
                f"ratio {mine / theirs:.2f} (bf16 {device.bf16}, {args.threads} threads)\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
