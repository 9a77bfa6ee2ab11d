"""How much of a scene's embedding its additive parts keep: variance, identity, what probes read.

Parts are estimated on some families of scenes and judged on others (`recognition.divided`), of
scenes whose objects were all met. Legend as in `geometry`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from analysis.binding.embedded import EmbeddedScenes
from analysis.binding.geometry import (
    ESTIMATORS,
    Estimator,
    ObjectParts,
    concept_share_of_objects,
    decompose,
)
from analysis.binding.rebindings import families, object_sets
from analysis.binding.recognition import (
    NO_SIDE,
    SIDES,
    SceneProbes,
    concept_share,
    divided,
    fit_scene_probes,
    object_share,
)
from analysis.binding.set_retrieval import bag_levels, first_places
from analysis.binding.shares import explained, missing, share

LEVELS = (1, 2)
NOT_MET = "no asked scene has objects that were all met"
NO_SINGLES = "there are no embeddings of scenes of one object"


def geometry_rows(
    embedded: EmbeddedScenes, *, seed: int = 0, device: torch.device | str = "cpu"
) -> list[dict[str, Any]]:
    """All scores of reconstructions, of both sides: rows of a table.

    Args:
        embedded: scenes.
        seed: of the division into fitted and asked scenes, of probes and of the bootstrap.
        device: on which to fit probes.

    Returns:
        Rows of `Share` with `side`, `estimator`, `level` (1: objects, 2: concepts; 0: the true
        embedding, the ceiling) and `score`: "R2", "retrieval", "concept", "object" (recognised by
        probes of true embeddings), "R2_objects" (share of the objects' variance that concepts
        explain, of level 2; its interval is over objects).
    """
    rows: list[dict[str, Any]] = []
    fit, ask = divided(embedded.space, embedded.scenes, seed)
    for side in SIDES:
        x = getattr(embedded, side)
        if not len(x) or not len(fit) or not len(ask):
            rows.append(missing(NO_SIDE).row(side=side, estimator=None, level=None, score="R2"))
            continue
        probes = fit_scene_probes(
            embedded.space, embedded.scenes[fit], x[fit], seed=seed, device=device
        )
        true = {"side": side, "estimator": None, "level": 0}
        rows += _judged(embedded, ask, x, x[ask], probes, seed, true)
        for estimator in ESTIMATORS:
            rows += _reconstructed(embedded, fit, ask, side, estimator, probes, seed)
    return rows


def parts_of(
    embedded: EmbeddedScenes, side: str, fit: NDArray[np.int64], estimator: Estimator
) -> ObjectParts | None:
    """Parts of one side, of the chosen scenes; None where the estimator lacks its embeddings."""
    singles = getattr(embedded, f"single_{side}")
    if estimator == "single" and not len(singles):
        return None
    x = getattr(embedded, side)[fit]
    return decompose(embedded.space, embedded.scenes[fit], x, estimator, singles)


def _reconstructed(
    embedded: EmbeddedScenes,
    fit: NDArray[np.int64],
    ask: NDArray[np.int64],
    side: str,
    estimator: Estimator,
    probes: SceneProbes,
    seed: int,
) -> list[dict[str, Any]]:
    keys = {"side": side, "estimator": estimator}
    parts = parts_of(embedded, side, fit, estimator)
    if parts is None:
        return [missing(NO_SINGLES).row(**keys, level=level, score="R2") for level in LEVELS]
    known = ask[parts.covers(embedded.scenes[ask])]
    scenes, x = embedded.scenes[known], getattr(embedded, side)
    rows = []
    for level, part in zip(LEVELS, (parts.object_part, parts.concept_part), strict=True):
        made = parts.mean + part(scenes)
        rows += _judged(embedded, known, x, made, probes, seed, keys | {"level": level})
    of_objects = concept_share_of_objects(parts, seed)
    return [*rows, of_objects.row(**keys, level=2, score="R2_objects")]


def _judged(
    embedded: EmbeddedScenes,
    rows: NDArray[np.int64],
    x: NDArray[np.float32],
    made: NDArray[np.floating],
    probes: SceneProbes,
    seed: int,
    keys: dict[str, Any],
) -> list[dict[str, Any]]:
    """Scores of the embeddings that were made for the rows, beside the true ones, x [n, d]."""
    space, scenes = embedded.space, embedded.scenes[rows]
    if not len(rows):
        return [missing(NOT_MET).row(**keys, score="R2")]
    clusters = families(space, scenes)
    retrieved = share(
        first_places(made, scenes, x, embedded.scenes),
        clusters,
        floor=bag_levels(space, scenes, embedded.scenes),
        chance=1 / len(np.unique(object_sets(embedded.scenes))),
    )
    objects, best = object_share(space, scenes, probes.object_scores(made))
    scored = {
        "R2": explained(x[rows], made, clusters, seed),
        "retrieval": retrieved,
        "concept": concept_share(space, scenes, probes.concept_scores(made)),
    }
    found = [value.row(**keys, score=name) for name, value in scored.items()]
    return [*found, objects.row(**keys, score="object") | {"bag_best": best}]
