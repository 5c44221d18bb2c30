"""The two savings of a step change nothing: shared keys and values, and logits only where a token counts."""

from pathlib import Path
from typing import Any

import pytest

from tidemill.tuning import batches
from tidemill.tuning import model as training_model
from tidemill.tuning.batches import TrainingExample
from tidemill.tuning.chunked_loss import chunked_loss
from tidemill.tuning.types import Lora

pytestmark = [
    pytest.mark.tune,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),
]

SHARED = [5, 900, 17, 33, 21, 8]
ROWS = [
    TrainingExample([*SHARED, 11, 12, 13, 14], [False] * 7 + [True] * 3),
    TrainingExample([*SHARED, 21, 22, 23, 24, 25, 26, 27], [False] * 9 + [True] * 4),
    TrainingExample([*SHARED, 31, 32, 33], [False] * 7 + [True, True]),
]
PLAIN = training_model.Device("cpu", bf16=False)


@pytest.fixture(scope="module")
def model(tiny: Path) -> Any:
    import torch

    torch.manual_seed(0)
    lora_model = training_model.add_lora(training_model.load(tiny, PLAIN), Lora(rank=4, alpha=8), PLAIN, name="tiny@1")
    for name, weight in lora_model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    return lora_model.train()


def gradients(model: Any, loss: Any) -> dict[str, Any]:
    model.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.requires_grad}


def theirs(model: Any) -> Any:
    """The sum of the losses as transformers computes them, row by row and without padding."""
    import torch

    total = torch.tensor(0.0)
    for row in ROWS:
        ids = torch.tensor([row.ids])
        labels = torch.tensor([[t if c else -100 for t, c in zip(row.ids, row.loss_mask, strict=True)]])
        total = total + model(input_ids=ids, labels=labels).loss * sum(row.loss_mask)
    return total


@pytest.mark.parametrize("prefix", [0, len(SHARED)])
def test_loss_and_gradients_are_those_of_transformers(model: Any, prefix: int) -> None:
    import torch

    loss = training_model.batch_loss(model, ROWS, prefix, PLAIN)
    assert loss.tokens == 9
    expected = theirs(model)
    assert loss.nats.item() == pytest.approx(expected.item(), rel=1e-5)
    ours, reference = gradients(model, loss.nats), gradients(model, theirs(model))
    for name, value in reference.items():
        assert torch.allclose(ours[name], value, rtol=1e-3, atol=1e-5), name


@pytest.mark.parametrize("prefix", [0, len(SHARED)])
def test_a_batch_that_is_cut_has_the_gradients_of_the_batch(
    model: Any, prefix: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    parts = batches.micro_batches(ROWS, 16, prefix)
    assert len(parts) > 1
    assert sorted(e.ids for part in parts for e in part) == sorted(e.ids for e in ROWS)
    reference = gradients(model, training_model.batch_loss(model, ROWS, prefix, PLAIN).nats / 9)
    model.zero_grad()
    monkeypatch.setattr(training_model, "LOSS_ROWS", 2)
    monkeypatch.setattr(training_model, "LONGEST_PLAIN_ATTENTION", 0)  # the fused attention agrees with the plain one
    for part in parts:
        (training_model.batch_loss(model, part, prefix, PLAIN).nats / 9).backward()
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            assert torch.allclose(weight.grad, reference[name], rtol=1e-3, atol=1e-5), name


@pytest.mark.parametrize("bf16", [False, True])
def test_a_trained_output_layer_gets_the_gradients_of_the_whole(bf16: bool) -> None:
    import torch

    torch.manual_seed(0)
    head, hidden = torch.nn.Linear(8, 50, bias=False), torch.randn(7, 8, requires_grad=True)
    targets = torch.randint(50, (7,))
    chunked = []
    for rows in (7, 3):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            nats, best = chunked_loss(hidden, targets, head, rows)
        chunked.append(torch.autograd.grad(nats / 7, [hidden, head.weight]))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        logits = head(hidden).float()
    expected = torch.nn.functional.cross_entropy(logits, targets, reduction="mean")
    assert (best == logits.argmax(-1)).all()
    assert torch.allclose(nats / 7, expected)
    references = torch.autograd.grad(expected, [hidden, head.weight])
    for gradient in chunked:
        for ours, reference in zip(gradient, references, strict=True):
            assert torch.allclose(ours, reference, rtol=2e-2 if bf16 else 1e-4, atol=2e-3 if bf16 else 1e-6)


def test_an_exact_match_is_a_greedy_answer(model: Any) -> None:
    """Teacher forcing finds a row exact if and only if the model would say it by itself."""
    prompts = [row.ids[: row.loss_mask.index(True)] for row in ROWS]
    answers = training_model.greedy(model, prompts, PLAIN, max_tokens=4, stop={2})
    rows = [
        TrainingExample([*prompt, *answer], [False] * len(prompt) + [True] * len(answer))
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    loss, exact = training_model.evaluate(model, rows, 0, PLAIN)
    assert (exact, loss > 0) == (1.0, True)
    assert training_model.evaluate(model, ROWS, 0, PLAIN)[1] == 0.0
    alone = [training_model.greedy(model, [p], PLAIN, max_tokens=4, stop={2})[0] for p in prompts]
    assert alone == answers, "padding and lending change no answer"


def test_the_precision_is_what_was_asked_for_or_what_is_faster() -> None:
    assert not training_model.choose_device("fp32").bf16
    assert training_model.choose_device("bf16").bf16
    assert training_model.choose_device("auto").name in ("cpu", "cuda")


def test_rounding_the_frozen_weights_once_is_what_autocast_does_every_time(tiny: Path) -> None:
    import torch

    bf16 = training_model.Device("cpu", bf16=True)
    losses = []
    for device in (bf16, PLAIN):  # the second keeps its weights in float32 and is computed under autocast as well
        torch.manual_seed(0)
        model = training_model.add_lora(
            training_model.load(tiny, PLAIN), Lora(rank=4, alpha=8), device, name="tiny@1"
        ).train()
        losses.append(training_model.batch_loss(model, ROWS, len(SHARED), bf16).nats.item())
        embedding = model.get_base_model().get_input_embeddings().weight
        assert embedding.dtype == torch.float32
    assert losses[0] == losses[1]
