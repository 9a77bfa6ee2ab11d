"""The contrastive objective (InfoNCE, as in CLIP) and how low it can get."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn.functional import cross_entropy

MAX_LOGIT_SCALE = math.log(100)


def info_nce(images: torch.Tensor, texts: torch.Tensor, logit_scale: torch.Tensor) -> torch.Tensor:
    """Symmetric InfoNCE (Radford et al. 2021, Fig. 3).

    Args:
        images, texts: normalised embeddings of matching pairs, shape [B, E].
        logit_scale: exponential of the learned temperature, scalar.

    Returns:
        Mean of the image-to-text and text-to-image cross-entropies, in nats.
    """
    logits = logit_scale * images @ texts.T
    labels = torch.arange(len(images), device=images.device)
    return (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2


def loss_floor(caption_ids: np.ndarray) -> float:
    """Lowest InfoNCE that any model can reach on a batch with repeated captions, in nats.

    A caption that stands n times in the batch gives n equal logits: at best 1/n each, so ln n.
    """
    _, inverse, counts = np.unique(caption_ids, return_inverse=True, return_counts=True)
    return float(np.log(counts[inverse]).mean())
