"""Which attribute has the cat? For every noun a linear probe of the value of the first concept.

The probe of Koishigarina, Uselis & Oh (2026): for scenes that hold the noun once, a softmax over
the values of the first concept, from the frozen embedding of one modality. Who knows the values of
a scene, and not whose they are, is right for one in m: that is the floor, not one in the number of
values.

Legend: n scenes, m objects of a scene, d dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from analysis.binding.embedded import EmbeddedScenes
from analysis.binding.object_probes import fit_probe
from analysis.binding.rebindings import families
from analysis.binding.recognition import NO_SIDE, SIDES, divided, in_parts
from analysis.binding.shares import Share, missing, share
from analysis.binding.swap_retrieval import balanced
from gen.scenes.space import ConceptSpace, Objects

UNFITTED = "no noun has both fitted and asked scenes"


def attribute_rows(
    embedded: EmbeddedScenes, *, seed: int = 0, device: torch.device | str = "cpu"
) -> list[dict[str, Any]]:
    """Scores of both sides by part: rows of `Share` with `protocol` "attribute", `fitted`, `asked`,
    `kind` "attribute", `part` and `balanced` (only scenes whose swap is asked as well).

    Args:
        embedded: scenes.
        seed: of the division into fitted and asked scenes, and of the probes.
        device: on which to fit.
    """
    rows = []
    for side in SIDES:
        keys = {"protocol": "attribute", "fitted": side, "asked": side, "kind": "attribute"}
        x = getattr(embedded, side)
        if not len(x):
            rows.append(missing(NO_SIDE).row(**keys, part=None))
            continue
        right = attribute_answers(embedded.space, embedded.scenes, x, seed=seed, device=device)
        asked = ~np.isnan(right).all(axis=1)
        for part, chosen in in_parts(embedded, np.flatnonzero(asked)):
            even = chosen[balanced(embedded, chosen)]
            for told, is_even in ((chosen, False), (even, True)):
                found = attribute_share(embedded, right, told)
                rows.append(found.row(**keys, part=part, balanced=is_even))
    return rows


def attribute_answers(
    space: ConceptSpace,
    scenes: Objects,
    embeddings: NDArray[np.float32],
    *,
    seed: int,
    device: torch.device | str = "cpu",
) -> NDArray[np.float64]:
    """[n, m] whether the attribute of every object was told from its noun; nan: not asked.

    Not asked are fitted scenes, objects whose noun the scene holds twice, and nouns without fitted
    scenes. Values that tie for the first place share it.
    """
    fit, ask = divided(space, scenes, seed)
    attributes, nouns = space.table[scenes][..., 0], space.table[scenes][..., -1]
    right = np.full(scenes.shape, np.nan)
    for noun in range(space.sizes[-1]):
        once = (nouns == noun).sum(axis=1) == 1
        shown, asked = fit[once[fit]], ask[once[ask]]
        if not len(shown) or not len(asked):
            continue
        slots = (nouns[shown] == noun).argmax(axis=1)
        targets = attributes[shown, slots][:, None] == np.arange(space.sizes[0])
        weights = fit_probe(embeddings[shown], targets, seed=seed, device=device)
        scores = embeddings[asked] @ weights.T
        best = scores == scores.max(axis=1, keepdims=True)
        slots = (nouns[asked] == noun).argmax(axis=1)
        own = best[np.arange(len(asked)), attributes[asked, slots]]
        right[asked, slots] = own / best.sum(axis=1)
    return right


def attribute_share(
    embedded: EmbeddedScenes, right: NDArray[np.float64], told: NDArray[np.int64]
) -> Share:
    """The mean over scenes of the share of their asked objects that are right.

    The floor is one in so many values as the scene's objects have.

    Args:
        embedded: scenes.
        right: of `attribute_answers`.
        told: rows that count, all of them asked.
    """
    space = embedded.space
    values = np.sort(space.table[embedded.scenes[told]][..., 0], axis=1)
    different = 1 + (np.diff(values, axis=1) != 0).sum(axis=1)
    return share(
        np.nanmean(right[told], axis=1) if len(told) else np.zeros(0),
        families(space, embedded.scenes)[told],
        floor=1 / different,
        chance=1 / space.sizes[0],
        reason=UNFITTED,
    )
