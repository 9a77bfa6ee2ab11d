"""Sparse autoencoders: the activations of a site as sums of few of many features.

BatchTopK (Bussmann et al. 2024, arXiv 2412.06410), with the auxiliary loss of Gao et al. 2024
(arXiv 2406.04093) and new starts (Bricken et al. 2023) for features that never fire. In fp32, and
the same every time on the same machine.

Legend: N images, B images of a batch, U units, J features.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn.functional import normalize

BATCH = 256
LEARNING_RATE = 6e-3
COOLED = 0.6
"""share of the steps after which the learning rate falls, linearly, to 0"""
AUX_WEIGHT = 1 / 32
"""of the auxiliary loss (Gao et al. 2024)"""
DEAD_AFTER = 4096
"""images for which a feature did not fire until it counts as dead"""
HOPELESS_AFTER = 4 * DEAD_AFTER
"""the same until the auxiliary loss is given up and it starts anew"""
LAST_START = 0.6
"""share of the steps after which no feature starts anew: it could not be learned any more"""
THRESHOLD_STEP = 0.02
"""weight of a batch in the running mean of the smallest code that was kept"""


class BatchTopK(nn.Module):
    """x ≈ s (f W + b): codes f ≥ 0, about k of them positive; rows of W, the features, of length 1.

        z = relu(E (x / s − b) + c),    f = z where z is large enough, else 0

    In training the k · B largest z of a batch are large enough. Afterwards those above `threshold`
    are, so that the code of an image does not depend on other images.

    Args:
        units: U.
        features: J.
        k: positive codes per image, on average.

    Attributes:
        encoder: E, [J, U].
        offset: c, [J].
        decoder: W, [J, U].
        bias: b, [U].
        scale: s: root mean square of the activations around their mean; a buffer.
        threshold: running mean of the smallest code kept in a batch of training; a buffer.
    """

    scale: torch.Tensor
    threshold: torch.Tensor

    def __init__(self, units: int, features: int, k: int) -> None:
        super().__init__()
        self.k = k
        self.encoder = nn.Parameter(torch.zeros(features, units))
        self.offset = nn.Parameter(torch.zeros(features))
        self.decoder = nn.Parameter(torch.zeros(features, units))
        self.bias = nn.Parameter(torch.zeros(units))
        self.register_buffer("scale", torch.tensor(1.0))
        self.register_buffer("threshold", torch.tensor(0.0))

    def candidates(self, x_BU: torch.Tensor) -> torch.Tensor:
        """z, [B, J]: codes before the small ones are left out."""
        offset_J = self.offset - self.encoder @ self.bias  # cheaper than to shift every image
        return torch.relu(torch.addmm(offset_J, x_BU / self.scale, self.encoder.T))

    def encode(self, x_BU: torch.Tensor) -> torch.Tensor:
        """Codes [B, J], each image by itself."""
        z_BJ = self.candidates(x_BU)
        return z_BJ * (z_BJ > self.threshold)

    def decode(self, f_BJ: torch.Tensor) -> torch.Tensor:
        """Activations [B, U] of codes."""
        return (f_BJ @ self.decoder + self.bias) * self.scale

    def forward(self, x_BU: torch.Tensor) -> torch.Tensor:
        """What the autoencoder makes of activations [B, U]."""
        return self.decode(self.encode(x_BU))


def batch_top_k(z_BJ: torch.Tensor, k: int) -> torch.Tensor:
    """The k · B largest entries of z, all others 0."""
    flat = z_BJ.flatten()
    values, places = flat.topk(min(k * len(z_BJ), len(flat)), sorted=False)
    return torch.zeros_like(flat).scatter(0, places, values).view_as(z_BJ)


def auxiliary_loss(
    residual_BU: torch.Tensor, z_BJ: torch.Tensor, dead_J: torch.Tensor, decoder_JU: torch.Tensor
) -> torch.Tensor:
    """What dead features leave of the residual, as a share of it (Gao et al. 2024).

    The largest U / 2 candidates of an image among the dead features explain what the others left;
    the gradient teaches them to, and the residual is taken as given.
    """
    candidates, features_DU = z_BJ[:, dead_J], decoder_JU[dead_J]
    count = min(max(1, residual_BU.shape[1] // 2), len(features_DU))
    values, places = candidates.topk(count, dim=1, sorted=False)
    codes = torch.zeros_like(candidates).scatter(1, places, values)
    target = residual_BU.detach()
    left = (target - codes @ features_DU).square().sum()
    return left / target.square().sum().clamp_min(torch.finfo(left.dtype).tiny)


class Fitter:
    """Trains an autoencoder batch by batch: `update` with each, then `fitted`.

    Args:
        sae: `started`.
        steps: how many batches there will be.
        generator: draws the new starts of features; on the CPU.

    Attributes:
        idle: images since each feature last fired, int [J].
    """

    def __init__(self, sae: BatchTopK, steps: int, generator: torch.Generator) -> None:
        self.sae, self.steps, self.generator = sae, steps, generator
        self.idle = torch.zeros(len(sae.decoder), dtype=torch.int64, device=sae.decoder.device)
        self.optimizer = torch.optim.Adam(sae.parameters(), lr=LEARNING_RATE, fused=True)
        self.step = 0

    def update(self, x_BU: torch.Tensor) -> float:
        """One step on a batch; returns the share of its mean square that is not reconstructed."""
        sae = self.sae
        z_BJ = sae.candidates(x_BU)
        f_BJ = batch_top_k(z_BJ, sae.k)
        residual_BU = x_BU / sae.scale - f_BJ @ sae.decoder - sae.bias
        error = residual_BU.square().mean()
        dead_J = self.idle >= DEAD_AFTER
        loss = error
        if dead_J.any():
            loss = error + AUX_WEIGHT * auxiliary_loss(residual_BU, z_BJ, dead_J, sae.decoder)
        self.optimizer.zero_grad()
        loss.backward()
        self._descend()
        self._watch(f_BJ.detach())
        if self.step < LAST_START * self.steps:
            unreached_J = dead_J & (z_BJ <= 0).all(dim=0)
            self._start_anew(unreached_J | (self.idle >= HOPELESS_AFTER), residual_BU.detach())
        return float(error.detach())

    def fitted(self) -> BatchTopK:
        """The autoencoder, which learns no more."""
        return self.sae.requires_grad_(False).eval()

    @torch.no_grad()
    def _descend(self) -> None:
        """A step of Adam on the sphere: the features keep length 1."""
        decoder = self.sae.decoder
        if decoder.grad is not None:
            along = (decoder.grad * decoder).sum(dim=1, keepdim=True)
            decoder.grad -= along * decoder
        left = (self.steps - self.step) / max(1.0, (1 - COOLED) * self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, left)
        self.optimizer.step()
        decoder.copy_(normalize(decoder, dim=1))
        self.step += 1

    def _watch(self, f_BJ: torch.Tensor) -> None:
        """Count who fired, and follow the smallest code that was kept."""
        fired_J = (f_BJ > 0).any(dim=0)
        self.idle = torch.where(fired_J, 0, self.idle + len(f_BJ))
        if fired_J.any():
            smallest = f_BJ.masked_fill(f_BJ <= 0, torch.inf).amin()
            self.sae.threshold.lerp_(smallest, THRESHOLD_STEP if self.step > 1 else 1.0)

    @torch.no_grad()
    def _start_anew(self, given_up_J: torch.Tensor, residual_BU: torch.Tensor) -> None:
        """Point features that no gradient wakes at what images of the batch lack.

        Images are drawn by how much they lack, as Bricken et al. 2023 do.
        """
        squares_B = residual_BU.square().sum(dim=1).cpu()
        if not given_up_J.any() or not squares_B.sum() > 0:
            return
        drawn = torch.multinomial(
            squares_B, int(given_up_J.sum()), replacement=True, generator=self.generator
        )
        directions = normalize(residual_BU[drawn.to(residual_BU.device)], dim=1)
        sae = self.sae
        sae.decoder[given_up_J], sae.encoder[given_up_J] = directions, directions
        sae.offset[given_up_J] = 0.0
        self.idle[given_up_J] = 0
        for parameter in (sae.decoder, sae.encoder, sae.offset):
            for moment in ("exp_avg", "exp_avg_sq"):
                self.optimizer.state[parameter][moment][given_up_J] = 0.0


def fit(
    x_NU: np.ndarray,
    cells_N: np.ndarray,
    *,
    k: int,
    features: int,
    steps: int,
    seed: int,
    device: torch.device,
) -> BatchTopK:
    """Train an autoencoder on images of all cells alike, however many images a cell has.

    Args:
        x_NU: activations of a site, float32.
        cells_N: number of each image's (domain, class) cell.
        k: positive codes per image, on average.
        features: J.
        steps: batches of BATCH images.
        seed: of its start and of the batches.
        device: where to compute.
    """
    generator = torch.Generator().manual_seed(seed)
    sae = started(x_NU, cells_N, k, features, generator).to(device)
    fitter, x = Fitter(sae, steps, generator), torch.from_numpy(x_NU).to(device)
    for rows in balanced_batches(cells_N, steps, np.random.default_rng(seed)):
        fitter.update(x[torch.from_numpy(rows).to(device)])
    return fitter.fitted()


def started(
    x_NU: np.ndarray, cells_N: np.ndarray, k: int, features: int, generator: torch.Generator
) -> BatchTopK:
    """An autoencoder before training: b the mean, E = W of random directions, c = 0.

    Mean and scale weigh all cells alike, as `balanced_batches` does.
    """
    units = x_NU.shape[1]
    _, inverse, sizes = np.unique(cells_N, return_inverse=True, return_counts=True)
    weights_N = 1 / (sizes[inverse] * len(sizes))
    mean = weights_N @ x_NU.astype(np.float64)
    scale = np.sqrt(weights_N @ np.mean((x_NU - mean) ** 2, axis=1)) or 1.0  # 0: constant
    sae = BatchTopK(units, features, k)
    with torch.no_grad():
        directions = normalize(torch.randn((features, units), generator=generator), dim=1)
        sae.decoder.copy_(directions)
        sae.encoder.copy_(directions)
        sae.bias.copy_(torch.from_numpy(mean / scale))
        sae.scale.fill_(float(scale))
    return sae


def balanced_batches(
    cells_N: np.ndarray, steps: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Rows of `steps` batches: every draw takes a cell, then one of its images, evenly each."""
    order = np.argsort(cells_N, kind="stable")
    _, starts, sizes = np.unique(cells_N[order], return_index=True, return_counts=True)
    for _ in range(steps):
        cells = rng.integers(len(sizes), size=BATCH)
        places = np.floor(rng.random(BATCH) * sizes[cells]).astype(np.int64)
        yield order[starts[cells] + places]
