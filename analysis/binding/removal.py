"""Targeted removal: what can probes still read when one kind of part is subtracted?

Of every embedding the fitted part of its concepts, Σ_i Σ_k w_k[c_k(o_i)], of its objects,
Σ_i u[o_i], or what objects have beyond concepts, is subtracted, and probes are fitted anew
(Uselis et al. 2026). The control subtracts the parts of other objects (`geometry.permuted`): as
much is taken away, of what is not there. A part that carries concepts or objects takes their
recognition with it, and its control does not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from analysis.binding.embedded import EmbeddedScenes
from analysis.binding.geometry import ObjectParts, decompose, permuted
from analysis.binding.recognition import (
    NO_SIDE,
    SIDES,
    concept_share,
    divided,
    fit_scene_probes,
    object_share,
)
from analysis.binding.shares import missing
from gen.scenes.space import Objects

PARTS = ("concepts", "objects", "interaction")
ROUNDING = 1e-6
"""of embeddings of length 1: what is left of less is nothing"""


def removal_rows(
    embedded: EmbeddedScenes, *, seed: int = 0, device: torch.device | str = "cpu"
) -> list[dict[str, Any]]:
    """Recognition before and after every removal, of both sides: rows of a table.

    Parts are those of least squares, from the scenes that probes are fitted on; scenes with an
    object that stands in none of these are not asked.

    Args:
        embedded: scenes.
        seed: of the division into fitted and asked scenes, of probes and of permutations.
        device: on which to fit probes.

    Returns:
        Rows of `Share` with `side`, `removed` ("nothing", "concepts", "objects", "interaction"),
        `permuted` (whether it is the control), `kind` ("concept", "object") and `bag_best`.
    """
    rows: list[dict[str, Any]] = []
    fit, ask = divided(embedded.space, embedded.scenes, seed)
    for side in SIDES:
        x = getattr(embedded, side)
        keys = {"side": side, "removed": "nothing", "permuted": False}
        if not len(x) or not len(fit) or not len(ask):
            rows += [missing(NO_SIDE).row(**keys, kind=kind) for kind in ("concept", "object")]
            continue
        parts = decompose(embedded.space, embedded.scenes[fit], x[fit], "fitted")
        known = ask[parts.covers(embedded.scenes[ask])]
        rows += _read(embedded, fit, known, x, keys, seed, device)
        control = permuted(parts, np.random.default_rng(seed))
        for removed in PARTS:
            for is_control, taken in ((False, parts), (True, control)):
                left = without(x, embedded.scenes, taken, removed)
                keys = {"side": side, "removed": removed, "permuted": is_control}
                rows += _read(embedded, fit, known, left, keys, seed, device)
    return rows


def without(
    embeddings: NDArray[np.float32], scenes: Objects, parts: ObjectParts, removed: str
) -> NDArray[np.float32]:
    """[n, d] the embeddings less one kind of part of their scenes [n, m].

    What is left of less than rounding around the mean is set to the mean, so that probes do not
    read what only arithmetic has left.
    """
    taken = {
        "concepts": parts.concept_part,
        "objects": parts.object_part,
        "interaction": lambda s: parts.object_part(s) - parts.concept_part(s),
    }[removed](scenes)
    left = embeddings - taken
    gone = np.linalg.norm(left - parts.mean, axis=1) <= ROUNDING
    left[gone] = parts.mean
    return np.asarray(left.astype(np.float32))


def _read(
    embedded: EmbeddedScenes,
    fit: NDArray[np.int64],
    ask: NDArray[np.int64],
    x: NDArray[np.float32],
    keys: dict[str, Any],
    seed: int,
    device: torch.device | str,
) -> list[dict[str, Any]]:
    """What probes, fitted on the given embeddings, recognise."""
    space, scenes = embedded.space, embedded.scenes
    probes = fit_scene_probes(space, scenes[fit], x[fit], seed=seed, device=device)
    concept = concept_share(space, scenes[ask], probes.concept_scores(x[ask]))
    objects, best = object_share(space, scenes[ask], probes.object_scores(x[ask]))
    return [
        concept.row(**keys, kind="concept") | {"bag_best": None},
        objects.row(**keys, kind="object") | {"bag_best": best},
    ]
