"""Which samples a step sees: a pure function of (seed, step), so that resuming needs no state."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

SMALL = 4096
"""samples whose order is made as fast as it is looked up; of more, few orders are kept"""


def batch_at(step: int, batch_size: int, samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The batch of `step`: a window on an endless row of shuffled epochs.

    Args:
        step: from 0.
        batch_size: B.
        samples: number of samples in an epoch; every epoch shows each sample once.
        seed: seed of the run.

    Returns:
        Epoch of each sample and its position in the mixture, both int64 of shape [B].
    """
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, within = np.divmod(places, samples)
    positions = np.empty_like(within)
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        order = _permutation if samples <= SMALL else _kept_permutation
        positions[chosen] = order(seed, int(epoch), samples)[within[chosen]]
    return epochs, positions


def _permutation(seed: int, epoch: int, samples: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(samples)


_kept_permutation = lru_cache(maxsize=4)(_permutation)
