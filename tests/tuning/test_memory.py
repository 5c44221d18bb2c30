"""The memory estimate and the refusal that stands on it."""

from pathlib import Path

import pytest

from tidemill.tuning import memory
from tidemill.tuning.types import Lora, MemoryEstimate, NotEnoughMemory, Training

SMOLLM2 = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}
GIB = 2**30


def needed(method: str = "lora", *, longest: int = 64, prefix: int = 0, **training: object) -> MemoryEstimate:
    hparams = Training.model_validate({"batch_size": 16} | training)
    return memory.estimate(SMOLLM2, method, Lora(), hparams, longest=longest, prefix=prefix)  # type: ignore[arg-type]


def test_the_weights_are_counted_right() -> None:
    assert needed(precision="fp32").parts["weights"] == pytest.approx(4 * 134.5e6, rel=0.01)
    assert needed().parts["gradients"] == 4 * 4_884_480
    assert needed("full").parts["optimiser"] == pytest.approx(8 * 134.5e6, rel=0.01)


def test_the_estimate_is_near_what_was_measured() -> None:
    """Measured: 3.2 GiB at the recipe's 16 rows (longest about 75 tokens, 33 shared), of which answers took a part."""
    assert 2.0 * GIB < needed(longest=75, prefix=33).bytes < 4.5 * GIB


def test_the_defaults_need_less_than_the_readme_promises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the lengths: a batch is cut, where memory is tight into smaller parts."""
    monkeypatch.setattr(memory, "available_bytes", lambda: 64 * GIB)
    assert all(needed(longest=n, precision=p).bytes < 6 * GIB for n in (64, 128, 300, 512) for p in ("fp32", "bf16"))
    plenty = needed(longest=300)
    assert plenty.micro_batch_tokens == memory.MICRO_BATCH_TOKENS
    monkeypatch.setattr(memory, "available_bytes", lambda: plenty.bytes - 1)
    tight = needed(longest=300)
    assert (tight.fits, tight.micro_batch_tokens) == (True, 1024)
    assert not needed(longest=300, micro_batch_tokens=2048).fits, "a bound that was asked for stays"


def test_what_saves_memory_lowers_the_estimate() -> None:
    base = needed(longest=256).bytes
    assert needed(longest=256, batch_size=4).bytes < base
    assert needed(longest=256, micro_batch_tokens=512).bytes < base
    assert needed(longest=256, gradient_checkpointing=True).bytes < base
    assert needed(longest=256, prefix=200).bytes < base
    assert needed("full", longest=256).bytes > base


def test_a_run_that_cannot_fit_is_refused_with_what_to_change() -> None:
    estimate = needed(longest=4096, batch_size=64, max_length=4096)
    tight = estimate.model_copy(update={"available": GIB, "fits": False})
    with pytest.raises(NotEnoughMemory) as failed:
        memory.check(tight, Training(batch_size=64, max_length=4096))
    assert "GB" in failed.value.message
    assert "micro_batch_tokens (now 2048" in (failed.value.hint or "")
    assert failed.value.details is not None
    assert failed.value.details["available"] == GIB
    memory.check(tight.model_copy(update={"fits": True}), Training())


def test_the_machine_says_what_is_free() -> None:
    meminfo = Path("/proc/meminfo").read_text()
    total = int(next(line for line in meminfo.splitlines() if line.startswith("MemTotal")).split()[1]) * 1024
    assert 0 < memory.available_bytes() < total
