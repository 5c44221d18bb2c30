"""The loss over a large vocabulary without its logits in memory: a few positions at a time, gradients at once."""

from typing import Any


def chunked_loss(hidden: Any, targets: Any, head: Any, rows: int) -> tuple[Any, Any]:
    """Return the summed cross-entropy in nats, and the most likely token of each position.

    `hidden`: (positions, width); `targets`: (positions,) token ids; `head`: the output layer. The gradients towards
    `hidden` and the head's trained weights are computed with each `rows` positions, so no logits are kept; the backward
    pass only scales them. The result is that of the whole at once.
    """
    weights = [p for p in head.parameters() if p.requires_grad]
    return _loss_function().apply(hidden, targets, head, rows, *weights)  # type: ignore[no-any-return]


def _loss_function() -> Any:
    import torch

    class ChunkedLoss(torch.autograd.Function):  # type: ignore[misc]  # torch has no type for it
        """Sum of the cross-entropy, whose gradients are computed in the forward pass."""

        @staticmethod
        def forward(ctx: Any, hidden: Any, targets: Any, head: Any, rows: int, *weights: Any) -> Any:
            """Return the sum and the most likely tokens; keep the gradients for the backward pass."""
            needed = any(ctx.needs_input_grad)
            gradients = [torch.zeros_like(w) for w in weights]
            towards_hidden = torch.empty_like(hidden)
            nats, best = torch.zeros((), device=hidden.device), torch.empty_like(targets)
            for start in range(0, len(targets), rows):
                here = slice(start, start + rows)
                with torch.set_grad_enabled(needed):
                    part = hidden[here].detach().requires_grad_(needed)
                    logits = head(part).float()
                    loss = torch.nn.functional.cross_entropy(logits, targets[here], reduction="sum")
                if needed:
                    first, *others = torch.autograd.grad(loss, [part, *weights])
                    torch.clear_autocast_cache()  # it holds the head's rounded weights with this part's graph
                    towards_hidden[here] = first
                    for total, value in zip(gradients, others, strict=True):
                        total += value
                nats += loss.detach()
                best[here] = logits.detach().argmax(-1)
            ctx.gradients = (towards_hidden, gradients)
            ctx.mark_non_differentiable(best)
            return nats, best

        @staticmethod
        def backward(ctx: Any, scale: Any, _: Any) -> Any:
            """Return the gradients times the one that comes from above."""
            towards_hidden, gradients = ctx.gradients
            return (towards_hidden * scale, None, None, None, *[g * scale for g in gradients])

    return ChunkedLoss
