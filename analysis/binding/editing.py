"""Editing by arithmetic: exchange a part, and see whether the embedding is that of the new scene.

    object     z = f(s) - u[o] + u[o']                 an object of a slot becomes another one
    concept    z = f(s) - w_k[c] + w_k[c']             a value becomes another one, of no object

(Uselis et al. 2026). An edit follows if the nearest scene is the one that was meant, and if probes
of true embeddings recognise its objects. The object that an edit of concepts changes is the only
one that has the value; only an encoder whose concepts do not depend on their objects can follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from analysis.binding.embedded import EmbeddedScenes
from analysis.binding.geometry import ESTIMATORS, ObjectParts
from analysis.binding.rebindings import families, object_sets, places
from analysis.binding.recognition import (
    NO_SIDE,
    SIDES,
    SceneProbes,
    divided,
    fit_scene_probes,
    object_share,
)
from analysis.binding.reconstruction import NO_SINGLES, parts_of
from analysis.binding.set_retrieval import bag_levels, first_places
from analysis.binding.shares import missing, share
from gen.scenes.space import ConceptSpace, Objects

KINDS = ("object", "concept")
NO_TARGET = "no scene of the data is another one but for such an edit"


@dataclass(frozen=True)
class Edits:
    """Scenes, and what they are to become.

    Attributes:
        rows: [e] rows of the scenes that are edited.
        targets: [e, m] objects of the scenes that are meant.
    """

    rows: NDArray[np.int64]
    targets: Objects


def editing_rows(
    embedded: EmbeddedScenes, *, seed: int = 0, device: torch.device | str = "cpu"
) -> list[dict[str, Any]]:
    """Scores of edits, by side, kind and estimator: rows of a table.

    Parts and probes are of fitted scenes, edits of others (`recognition.divided`).

    Args:
        embedded: scenes.
        seed: of the division, of probes, and of which edits are drawn: one of a scene.
        device: on which to fit probes.

    Returns:
        Rows of `Share` with `side`, `edit` ("object", "concept"), `estimator` (None: the embedding
        as it was, the floor of any edit) and `score` ("retrieval": the nearest scene is the one
        meant; "object": probes recognise its objects).
    """
    rows: list[dict[str, Any]] = []
    fit, ask = divided(embedded.space, embedded.scenes, seed)
    for side in SIDES:
        x = getattr(embedded, side)
        if not len(x) or not len(fit) or not len(ask):
            keys = {"side": side, "estimator": None, "score": "retrieval"}
            rows += [missing(NO_SIDE).row(**keys, edit=edit) for edit in KINDS]
            continue
        probes = fit_scene_probes(
            embedded.space, embedded.scenes[fit], x[fit], seed=seed, device=device
        )
        for edit in KINDS:
            drawn = drawn_edits(embedded.space, embedded.scenes, ask, edit, seed)
            keys = {"side": side, "edit": edit}
            rows += _scored(embedded, x, drawn, x[drawn.rows], probes, keys | {"estimator": None})
            for estimator in ESTIMATORS:
                parts = parts_of(embedded, side, fit, estimator)
                keys = {"side": side, "edit": edit, "estimator": estimator}
                if parts is None:
                    rows.append(missing(NO_SINGLES).row(**keys, score="retrieval"))
                    continue
                told = _told(embedded.scenes, drawn, parts)
                made = edited(x[told.rows], embedded.scenes[told.rows], told.targets, parts, edit)
                rows += _scored(embedded, x, told, made, probes, keys)
    return rows


def drawn_edits(
    space: ConceptSpace, scenes: Objects, rows: NDArray[np.int64], edit: str, seed: int
) -> Edits:
    """One edit of every row whose outcome is among the scenes, drawn from all that there are.

    Args:
        space: the world.
        scenes: [n, m] all scenes.
        rows: which of them are edited.
        edit: "object": one slot gets another object, which the scene does not hold; "concept": one
            value that one object alone has becomes one that none has.
        seed: of the draw.
    """
    random = np.random.default_rng(seed)
    start = scenes[rows]
    outcomes = _object_outcomes(space, start) if edit == "object" else _outcomes(space, start)
    there = (places(np.maximum(outcomes, 0), scenes) >= 0) & (outcomes >= 0).all(axis=2)
    order = np.where(there, random.random(there.shape), 2.0)
    first = order.argmin(axis=1)
    possible = there.any(axis=1)
    targets = outcomes[np.arange(len(rows)), first]
    return Edits(rows[possible], targets[possible])


def edited(
    embeddings: NDArray[np.floating],
    scenes: Objects,
    targets: Objects,
    parts: ObjectParts,
    edit: str,
) -> NDArray[np.float64]:
    """[e, d] embeddings [e, d] of scenes [e, m], moved to the targets [e, m] by their parts.

    Concepts are exchanged by w alone: what an object has beyond its concepts stays that of the old
    one.
    """
    part = parts.object_part if edit == "object" else parts.concept_part
    return np.asarray(embeddings - part(scenes) + part(targets))


def _told(scenes: Objects, drawn: Edits, parts: ObjectParts) -> Edits:
    """The edits whose objects are known, those that leave and those that come."""
    known = parts.covers(scenes[drawn.rows]) & parts.covers(drawn.targets)
    return Edits(drawn.rows[known], drawn.targets[known])


def _object_outcomes(space: ConceptSpace, start: Objects) -> Objects:
    """[e, m·O, m] scenes in which one slot has another object; -1: it holds the object already."""
    found = []
    everything = np.arange(space.objects)
    for slot in range(start.shape[1]):
        changed = np.repeat(start[:, None], space.objects, axis=1)
        changed[:, :, slot] = everything
        changed[(start[:, :, None] == everything).any(axis=1)] = -1
        found.append(changed)
    return np.concatenate(found, axis=1)


def _outcomes(space: ConceptSpace, start: Objects) -> Objects:
    """[e, m·ΣV, m] scenes in which a value of one object alone became one of none; -1: no such."""
    values = space.table[start]
    found = []
    for slot in range(start.shape[1]):
        for concept, size in enumerate(space.sizes):
            column = values[:, :, concept]
            changed = np.repeat(values[:, None], size, axis=1)
            changed[:, :, slot, concept] = np.arange(size)
            numbers = space.numbers(changed)
            taken = (column[:, :, None] == np.arange(size)).any(axis=1)
            taken |= ((column == column[:, slot, None]).sum(axis=1) > 1)[:, None]
            numbers[taken] = -1
            found.append(numbers)
    return np.concatenate(found, axis=1)


def _scored(
    embedded: EmbeddedScenes,
    x: NDArray[np.float32],
    edits: Edits,
    made: NDArray[np.floating],
    probes: SceneProbes,
    keys: dict[str, Any],
) -> list[dict[str, Any]]:
    """Whether embeddings that were made [e, d] are those of the targets."""
    space, scenes = embedded.space, embedded.scenes
    if not len(edits.rows):
        return [missing(NO_TARGET).row(**keys, score=name) for name in ("retrieval", "object")]
    nearest = share(
        first_places(made, edits.targets, x, scenes),
        families(space, edits.targets),
        floor=bag_levels(space, edits.targets, scenes),
        chance=1 / len(np.unique(object_sets(scenes))),
    )
    objects, _ = object_share(space, edits.targets, probes.object_scores(made))
    return [
        nearest.row(**keys, score="retrieval"),
        objects.row(**keys, score="object"),
    ]
