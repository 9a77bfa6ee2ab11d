"""The sparse autoencoder of Kempf et al. 2025 as they published it: for comparison only.

It reads normalised image embeddings alone and is kept sparse by an L1 penalty; `analysis.sae` is
ours. Architecture and loss are those of their code, the length of the training is not: docs/maps.md
says what differs.

Legend: N images, B images of a batch, U units, J features.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn.functional import normalize

FACTOR = 4
"""features per unit; published: 4096 of 1024"""
PENALTY = 1e-4
"""weight of the sum of an image's codes"""
BATCH = 256
LEARNING_RATE = 1e-3
STEPS = 500
"""batches of the training, ours: the published one took 200 passes over DomainNet and CC12M"""
ROWS_AT_A_TIME = 2048


class PublishedSae(nn.Module):
    """x ≈ f W + b with codes f = relu(E (x − b) + c) ≥ 0; rows of W, the features, of length 1.

    Args:
        start_JU: directions at which W and E start, of length 1.
        bias_U: where b starts.

    Attributes:
        encoder: E, [J, U].
        offset: c, [J].
        decoder: W, [J, U].
        bias: b, [U]; tied: taken off before the encoder, and added after the decoder.
    """

    def __init__(self, start_JU: torch.Tensor, bias_U: torch.Tensor) -> None:
        super().__init__()
        self.encoder = nn.Parameter(start_JU.clone())
        self.offset = nn.Parameter(torch.zeros(len(start_JU)))
        self.decoder = nn.Parameter(start_JU.clone())
        self.bias = nn.Parameter(bias_U.clone())

    def encode(self, x_BU: torch.Tensor) -> torch.Tensor:
        """Codes [B, J]."""
        return torch.relu(torch.addmm(self.offset, x_BU - self.bias, self.encoder.T))

    def decode(self, f_BJ: torch.Tensor) -> torch.Tensor:
        """Embeddings [B, U] of codes."""
        return f_BJ @ self.decoder + self.bias

    def loss(self, x_BU: torch.Tensor) -> torch.Tensor:
        """Mean over images of |x − x̂|² / U + PENALTY · Σ_j f_j."""
        f_BJ = self.encode(x_BU)
        error = (x_BU - self.decode(f_BJ)).square().mean()
        return error + PENALTY * f_BJ.sum(dim=1).mean()


def published_codes(
    shown_NU: np.ndarray, tested_NU: np.ndarray, seed: int, device: torch.device
) -> np.ndarray:
    """Codes of test images in the features that an autoencoder learned from training images.

    Args:
        shown_NU: embeddings that it learns, float32.
        tested_NU: embeddings of the test images.
        seed: of its start and of the batches.
        device: where to compute.

    Returns:
        float32 [N, J].
    """
    sae = fit_published(shown_NU, seed, device)
    with torch.inference_mode():
        parts = [
            sae.encode(_normalised(tested_NU[start : start + ROWS_AT_A_TIME], device)).cpu()
            for start in range(0, len(tested_NU), ROWS_AT_A_TIME)
        ]
    return torch.cat(parts).numpy()


def fit_published(
    x_NU: np.ndarray, seed: int, device: torch.device, steps: int = STEPS
) -> PublishedSae:
    """Train an autoencoder on normalised embeddings, by Adam.

    Args:
        x_NU: embeddings, float32, of any length.
        seed: of its start and of the batches.
        device: where to compute.
        steps: batches of the training.
    """
    x = _normalised(x_NU, device)
    units, generator = x.shape[1], torch.Generator().manual_seed(seed)
    start = normalize(torch.randn((FACTOR * units, units), generator=generator), dim=1)
    sae = PublishedSae(start, x.mean(dim=0).cpu()).to(device)
    optimizer = torch.optim.Adam(sae.parameters(), lr=LEARNING_RATE, fused=True)
    for rows in shuffled_batches(len(x), steps, np.random.default_rng(seed)):
        optimizer.zero_grad()
        sae.loss(x[torch.from_numpy(rows).to(device)]).backward()
        _keep_length(sae, optimizer)
    return sae.requires_grad_(False).eval()


@torch.no_grad()
def _keep_length(sae: PublishedSae, optimizer: torch.optim.Adam) -> None:
    """A step along the sphere: a gradient along a feature would only change its length."""
    decoder = sae.decoder
    if decoder.grad is not None:
        decoder.grad -= (decoder.grad * decoder).sum(dim=1, keepdim=True) * decoder
    optimizer.step()
    decoder.copy_(normalize(decoder, dim=1))


def shuffled_batches(images: int, steps: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Rows of `steps` batches: all images in a new order, then again."""
    size, order = min(BATCH, images), np.empty(0, dtype=np.int64)
    for _ in range(steps):
        if len(order) < size:
            order = rng.permutation(images)
        yield order[:size]
        order = order[size:]


def _normalised(x_NU: np.ndarray, device: torch.device) -> torch.Tensor:
    return normalize(torch.from_numpy(x_NU).to(device), dim=1)
