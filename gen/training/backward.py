"""The gradient of a batch that goes through the towers in parts: exactly that of the whole.

A contrastive loss compares every pair with every other, so the losses of the parts do not add up
to that of the batch. With cached features (Gao et al. 2021, "Scaling deep contrastive learning
batch size under memory limited setup", Section 3.2) they need not: all parts go through the
towers without a graph, the loss of the batch gives the gradient of every feature, and each part
goes through a second time, now with a graph, to carry its features' gradients on to the weights.
The memory is that of one part, the price one more forward.

Batch norms see one part at a time (of all processes): with them, parts are not the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from gen.training.batch_norm import frozen_statistics

Part = tuple[torch.Tensor, torch.Tensor | None]
"""images [b / parts, 3, H, W] and texts [T / parts, ...] of one part; no texts for a classifier"""


def cut(images: torch.Tensor, texts: torch.Tensor | None, parts: int) -> list[Part]:
    """Cut images and distinct texts, each by themselves, into parts of equal length.

    Args:
        images: shape [b, 3, H, W]; `parts` divides b.
        texts: shape [T, ...], or None for a classifier. The first one is repeated at the end until
            `parts` divides their number, so their features have up to `parts` - 1 rows more
            than T; no pair refers to those.
        parts: how many.
    """
    image_parts = images.split(len(images) // parts)
    if texts is None:
        return [(part, None) for part in image_parts]
    filled = torch.cat([texts, texts[:1].expand(-len(texts) % parts, *texts.shape[1:])])
    return list(zip(image_parts, filled.split(len(filled) // parts), strict=True))


def backward(
    towers: nn.Module,
    parts: Sequence[Part],
    loss: Callable[..., torch.Tensor],
    *,
    seed_part: Callable[[int], None],
    context: Callable[[], AbstractContextManager] = nullcontext,
) -> torch.Tensor:
    """Add the gradient of the loss to the parameters' gradients.

    With several processes the gradients are averaged over them, once, with the last part.

    Args:
        towers: `Towers`, or what `wrap` made of them.
        parts: the inputs of this process; one part is a plain forward and backward.
        loss: from the outputs of `Towers` for all parts together to this process's loss.
        seed_part: sets the state of random numbers (dropout) for the part of that number; called
            before each of its passes, which must draw the same.
        context: makes the context of the towers' forward (autocast).

    Returns:
        This process's loss, detached.
    """
    if len(parts) == 1:
        value = loss(*_outputs(towers, parts, 0, seed_part, context))
        value.backward()
        return value.detach()
    value, gradients = _output_gradients(towers, parts, loss, seed_part, context)
    for number, of_part in enumerate(gradients):
        with _reduction(towers, number == len(parts) - 1):
            outputs = _outputs(towers, parts, number, seed_part, context)
            used = [
                (output, gradient)
                for output, gradient in zip(outputs, of_part, strict=True)
                if gradient is not None
            ]
            tensors, by_output = zip(*used, strict=True)
            torch.autograd.backward(tensors, by_output)
    return value


def _output_gradients(
    towers: nn.Module,
    parts: Sequence[Part],
    loss: Callable[..., torch.Tensor],
    seed_part: Callable[[int], None],
    context: Callable[[], AbstractContextManager],
) -> tuple[torch.Tensor, list[list[torch.Tensor | None]]]:
    """The loss, and for every part its gradient by the part's outputs.

    Scale and bias are outputs of every part, but enter the loss once: their gradients stand at
    the last part.
    """
    with torch.no_grad(), frozen_statistics(towers):
        outputs = [
            _outputs(towers, parts, number, seed_part, context) for number in range(len(parts))
        ]
    features = [torch.cat(column) for column in zip(*(own[:2] for own in outputs), strict=True)]
    cached = [
        None if value is None else value.detach().requires_grad_()
        for value in (*features, *outputs[0][2:])
    ]
    value = loss(*cached)
    value.backward()
    gradients = [None if leaf is None else leaf.grad for leaf in cached]
    shared = gradients[len(features) :]
    columns = [
        gradient.split([len(own[place]) for own in outputs])
        for place, gradient in enumerate(gradients[: len(features)])
        if gradient is not None
    ]
    rows: list[list[torch.Tensor | None]] = [list(row) for row in zip(*columns, strict=True)]
    absent: list[torch.Tensor | None] = [None] * len(shared)
    return value.detach(), [row + absent for row in rows[:-1]] + [rows[-1] + shared]


def _outputs(
    towers: nn.Module,
    parts: Sequence[Part],
    number: int,
    seed_part: Callable[[int], None],
    context: Callable[[], AbstractContextManager],
) -> tuple[torch.Tensor, ...]:
    seed_part(number)
    with context():
        outputs = towers(*parts[number])
    return outputs if isinstance(outputs, tuple) else (outputs,)


@contextmanager
def _reduction(towers: nn.Module, wanted: bool) -> Iterator[None]:
    """Within, gradients are averaged over the processes, or only added up in each."""
    if isinstance(towers, DistributedDataParallel) and not wanted:
        with towers.no_sync():
            yield
    elif hasattr(towers, "set_requires_gradient_sync"):  # FSDP2; its import takes seconds
        sharded: Any = towers
        sharded.set_requires_gradient_sync(wanted)
        try:
            yield
        finally:
            sharded.set_requires_gradient_sync(True)
    else:
        yield
