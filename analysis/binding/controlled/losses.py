"""Contrastive losses with several positives, and the margin between a scene and its swap.

Legend: n scenes, q queries. Logits are cosines times a learned scale.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import log_softmax, softplus


def multi_positive(logits: Tensor, positives: Tensor) -> Tensor:
    """Softmax over queries whose target is uniform over the positives of a scene.

    L = mean over scenes with a positive of −Σ_t (y_t / |y|) log softmax(ℓ)_t (Uselis et al. 2026).

    Args:
        logits: [n, q].
        positives: [n, q] bool, whether a query holds for a scene.
    """
    counts = positives.sum(dim=1)
    likelihood = log_softmax(logits, dim=1).masked_fill(~positives, 0.0).sum(dim=1)
    return -(likelihood / counts.clamp(min=1))[counts > 0].mean()


def symmetric(logits: Tensor, same: Tensor) -> Tensor:
    """InfoNCE in both directions, in which equal scenes are positives of each other.

    Args:
        logits: [n, n] of images and captions.
        same: [n, n] bool, whether image and caption show equal scenes; the diagonal does.
    """
    return (multi_positive(logits, same) + multi_positive(logits.T, same.T)) / 2


def swap_margin(present: Tensor, rebound: Tensor, counts: Tensor) -> Tensor:
    """Every object of a scene against every object of its swap, pair by pair.

    L = mean over the pairs that count of log(1 + exp(ℓ_rebound − ℓ_present)); 0 without any.

    Args:
        present: [n, a] logits of objects in the scene.
        rebound: [n, b] logits of objects that only the swap has.
        counts: [n, b] bool, whether such an object may be a negative.
    """
    losses = softplus(rebound[:, None, :] - present[:, :, None])
    weights = counts[:, None, :].expand_as(losses)
    return (losses * weights).sum() / weights.sum().clamp(min=1)
