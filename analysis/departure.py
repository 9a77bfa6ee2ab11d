"""How far patched states are from what images show: an effect of impossible states says little.

Legend: N images, M training images, G groups of positions, U units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

MOST_REAL = 1000
"""training images that are near or not; of more every so manieth is taken"""


@dataclass(frozen=True)
class Surroundings:
    """Where the states of some images are, and what is near them; an image's groups are one vector.

    Attributes:
        real_MU: states of training images, about their mean.
        centre_U: that mean.
        lengths_N: of the images' own states.
        usual: mean distance of the images' own states to the nearest real one.
    """

    real_MU: torch.Tensor
    centre_U: torch.Tensor
    lengths_N: torch.Tensor
    usual: float

    def norm_ratio(self, patched_NGU: torch.Tensor) -> np.ndarray:
        """Length of every image's patched state over that of its own, float64 [N]; 1 if equal."""
        tiny = torch.finfo(self.lengths_N.dtype).tiny
        ratio = patched_NGU.flatten(1).norm(dim=1) / self.lengths_N.clamp(min=tiny)
        return ratio.double().cpu().numpy()

    def knn_distance(self, patched_NGU: torch.Tensor) -> np.ndarray:
        """Distance of patched states to the nearest real one over the usual one, float64 [N]."""
        apart = nearest(patched_NGU.flatten(1) - self.centre_U, self.real_MU).double()
        return (apart / max(self.usual, np.finfo(float).tiny)).cpu().numpy()


def surroundings(real_MGU: torch.Tensor, own_NGU: torch.Tensor) -> Surroundings:
    """Of images that show `own_NGU`, beside what training images show. All on one device."""
    step = -(-len(real_MGU) // MOST_REAL)
    real, own = real_MGU[::step].flatten(1), own_NGU.flatten(1)
    centre = real.mean(dim=0)  # distances of states about it lose fewer digits
    usual = float(nearest(own - centre, real - centre).mean())
    return Surroundings(real - centre, centre, own.norm(dim=1), usual)


def nearest(states_NU: torch.Tensor, real_MU: torch.Tensor) -> torch.Tensor:
    """Euclidean distance of every state to the nearest real one, [N]."""
    return torch.cdist(states_NU, real_MU).amin(dim=1)


def departures(near: Surroundings, patched_NGU: torch.Tensor) -> dict[str, np.ndarray]:
    """By quantity, of every image, [N]."""
    return {
        "norm_ratio": near.norm_ratio(patched_NGU),
        "knn_distance": near.knn_distance(patched_NGU),
    }
