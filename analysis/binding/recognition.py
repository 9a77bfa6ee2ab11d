"""Binding within one modality: do an embedding's linear probes tell which objects a scene holds?

Probes are those of `object_probes`: bias-free, one per concept and one over all objects. A scene is
recognised where all that it holds outscores all that it does not. Five protocols:

    scenes      probes fitted on some scenes, asked on others, of the same objects
    transfer    the same, fitted on texts and asked on images, or the other way round; both sides
                centred, each by its own fitted scenes, as a probe has no bias that bridges the gap
    objects     concept probes fitted on scenes of train objects, asked on scenes of unseen ones
    queries     no probe is fitted: objects are asked for by embeddings of scenes that show one
    attribute   for every noun a probe of its attribute (Koishigarina, Uselis & Oh 2026)

Families of scenes (`rebindings.families`) are either fitted or asked, never both: a probe that had
seen a scene's swap would know by heart what it is asked.

What a bag of concepts reaches: `floor` where it guesses every object anew, 1/6 for two objects
without a value in common; `bag_best` where it takes, for every bag, one way to bind it, 1/2. Even
that is no bound where one of two bindings is shown more often than the other, as in scenes of one
part: there only `balanced` scenes tell, whose swaps are of the same part and asked as well.

Legend: n scenes, d dimensions, m objects of a scene.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from analysis.binding.embedded import EmbeddedScenes
from analysis.binding.object_probes import (
    askable,
    bag_floor,
    chance,
    concept_presence,
    fit_probe,
    object_presence,
    recognised,
)
from analysis.binding.rebindings import families, object_sets, rebindings
from analysis.binding.shares import Share, missing, share
from analysis.binding.swap_retrieval import balanced, unit
from gen.scenes.coverage import ObjectSplit, Part
from gen.scenes.space import ConceptSpace, Objects

FITTED = 0.4
"""share of the families of scenes that probes are fitted on"""
SIDES = ("images", "texts")
NO_SIDE = "there are no such embeddings"
UNKNOWN_OBJECTS = "a probe has no weights for objects that no fitted scene holds"
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class SceneProbes:
    """Probes of one side's embeddings.

    Attributes:
        centre: [d] what is subtracted before they are applied.
        concepts: of every concept [values, d].
        objects: [objects, d].
    """

    centre: NDArray[np.float32]
    concepts: list[NDArray[np.float32]]
    objects: NDArray[np.float32]

    def moved(self, centre: NDArray[np.float32]) -> SceneProbes:
        """The same weights, around another centre."""
        return SceneProbes(centre, self.concepts, self.objects)

    def concept_scores(self, x: NDArray[np.floating]) -> list[NDArray[np.float32]]:
        """Of every concept [n, values], of embeddings [n, d]."""
        shown = (x - self.centre).astype(np.float32)
        return [shown @ weights.T for weights in self.concepts]

    def object_scores(self, x: NDArray[np.floating]) -> NDArray[np.float32]:
        """[n, objects] of embeddings [n, d]."""
        return np.asarray((x - self.centre).astype(np.float32) @ self.objects.T)


def fit_scene_probes(
    space: ConceptSpace,
    scenes: Objects,
    embeddings: NDArray[np.float32],
    *,
    seed: int,
    centred: bool = False,
    device: torch.device | str = "cpu",
) -> SceneProbes:
    """Probes of all concepts and of all objects.

    Args:
        space: the world.
        scenes: [n, m], with their embeddings [n, d].
        embeddings: of one side.
        seed: of the first weights.
        centred: whether the embeddings' mean is subtracted first.
        device: on which to compute.
    """
    centre = embeddings.mean(axis=0) * centred
    x = embeddings - centre
    concepts = [
        fit_probe(x, present, seed=seed, device=device)
        for present in concept_presence(space, scenes)
    ]
    objects = fit_probe(x, object_presence(space, scenes), seed=seed, device=device)
    return SceneProbes(centre, concepts, objects)


def divided(space: ConceptSpace, scenes: Objects, seed: int) -> tuple[Rows, Rows]:
    """Rows that are fitted, and rows that are asked: families of scenes are never divided."""
    family = families(space, scenes)
    count = family.max(initial=-1) + 1
    chosen = np.random.default_rng(seed).permutation(count) < round(FITTED * count)
    return np.flatnonzero(chosen[family]), np.flatnonzero(~chosen[family])


def concept_share(
    space: ConceptSpace,
    scenes: Objects,
    scores: Sequence[NDArray[np.floating]],
) -> Share:
    """Share of scenes whose values are recognised, mean over concepts; a bag may reach 1.

    Args:
        space: the world.
        scenes: [n, m].
        scores: of every concept [n, values].
    """
    right, guessed, asked = np.zeros(len(scenes)), np.zeros(len(scenes)), np.zeros(len(scenes))
    for present, found in zip(concept_presence(space, scenes), scores, strict=True):
        rows = np.flatnonzero(askable(present))
        right[rows] += recognised(found[rows], present[rows])
        guessed[rows] += chance(present[rows])
        asked[rows] += 1
    told = asked > 0
    return share(
        right[told] / asked[told],
        families(space, scenes)[told],
        floor=1.0,
        chance=guessed[told] / asked[told],
        reason="every scene holds all values of its concepts, or there are none",
    )


def object_share(
    space: ConceptSpace,
    scenes: Objects,
    scores: NDArray[np.floating],
    bank: Rows | None = None,
) -> tuple[Share, float | None]:
    """Share of scenes whose objects are recognised, and the best that a bag can reach.

    Args:
        space: the world.
        scenes: [n, m].
        scores: [n, objects].
        bank: objects that are told apart; all of them by default. Scenes that hold none of them, or
            all, are left out.
    """
    chosen = np.arange(space.objects) if bank is None else bank
    present = object_presence(space, scenes)[:, chosen]
    rows = np.flatnonzero(askable(present)) if len(chosen) else np.array([], dtype=np.int64)
    if not len(rows):
        return missing("no scene holds some objects of the bank and lacks others"), None
    asked, shown = scenes[rows], present[rows]
    right = recognised(scores[rows][:, chosen], shown)
    floor = bag_floor(space, asked, chosen)
    found = share(right, families(space, asked), floor=floor, chance=chance(shown))
    return found, float(bag_best(space, asked, chosen).mean())


def bag_best(space: ConceptSpace, scenes: Objects, bank: Rows) -> NDArray[np.float64]:
    """[n] the share of a family that is right where every bag is bound in one way, by heart.

    A function of the bag gives one answer for all scenes of a family. It is right for one of the
    ways to bind them whose objects are all in the bank, and these are equally many scenes.

    Args:
        space: the world.
        scenes: [n, m].
        bank: numbers of the objects that are told apart.
    """
    bound = rebindings(space, scenes)
    ways = np.concatenate([scenes[:, None], bound], axis=1)
    sets = object_sets(ways.reshape(-1, scenes.shape[1])).reshape(ways.shape[:2])
    possible = np.asarray(np.isin(ways, bank).all(axis=2))
    possible[:, 0] = True
    for column in range(1, ways.shape[1]):
        repeated = (sets[:, :column] == sets[:, column, None]) & possible[:, :column]
        possible[repeated.any(axis=1), column] = False
    return 1 / possible.sum(axis=1)


def recognition_rows(
    embedded: EmbeddedScenes, *, seed: int = 0, device: torch.device | str = "cpu"
) -> list[dict[str, Any]]:
    """All scores of this module but attributes': rows of a table.

    Args:
        embedded: scenes.
        seed: of the division into fitted and asked scenes, and of the probes.
        device: on which to fit.

    Returns:
        Rows of `Share` with `protocol`, `fitted` and `asked` ("images", "texts", "single_images",
        "single_texts"), `kind` ("concept", "object"), `part`, `bank` ("full", "held_out"; None of
        concepts), `balanced` (only scenes whose swap is asked as well) and `bag_best` (None of
        concepts).
    """
    fit, ask = divided(embedded.space, embedded.scenes, seed)
    rows: list[dict[str, Any]] = []
    centred: dict[str, SceneProbes] = {}
    for side in SIDES:
        x = getattr(embedded, side)
        if not len(x) or not len(fit) or not len(ask):
            rows += [_no_side("scenes", side, kind) for kind in ("concept", "object")]
            continue
        shown = embedded.space, embedded.scenes[fit], x[fit]
        probes = fit_scene_probes(*shown, seed=seed, device=device)
        keys = {"protocol": "scenes", "fitted": side, "asked": side}
        rows += [keys | row for row in _asked(embedded, ask, x, probes)]
        rows += _object_level(embedded, side, seed=seed, device=device)
        centred[side] = fit_scene_probes(*shown, seed=seed, centred=True, device=device)
    if len(centred) == len(SIDES):
        for side, other in (SIDES, SIDES[::-1]):
            probes = centred[side].moved(centred[other].centre)
            keys = {"protocol": "transfer", "fitted": side, "asked": other}
            rows += [keys | row for row in _asked(embedded, ask, getattr(embedded, other), probes)]
    return rows + query_rows(embedded)


def query_rows(embedded: EmbeddedScenes) -> list[dict[str, Any]]:
    """Objects and concepts asked for by embeddings of scenes that show one object.

    Nothing is fitted, so unseen objects can be asked for. A concept value is asked for by the mean
    of the objects that have it, of train objects alone where they are known.
    """
    rows: list[dict[str, Any]] = []
    for side, single in (
        ("images", "single_texts"),
        ("images", "single_images"),
        ("texts", "single_texts"),
    ):
        keys = {"protocol": "queries", "fitted": single, "asked": side}
        x, queries = getattr(embedded, side), getattr(embedded, single)
        if not len(x) or not len(queries):
            rows += [
                keys | _keys("concept", None) | missing(NO_SIDE).row(),
                keys | _keys("object", None) | missing(NO_SIDE).row(),
            ]
            continue
        objects = unit(queries).astype(np.float32)
        centre = np.zeros(x.shape[1], dtype=np.float32)
        probes = SceneProbes(centre, _prototypes(embedded, objects), objects)
        everything = np.arange(len(embedded.scenes))
        rows += [keys | row for row in _asked(embedded, everything, x, probes)]
    return rows


def _asked(
    embedded: EmbeddedScenes, ask: Rows, x: NDArray[np.float32], probes: SceneProbes
) -> Iterator[dict[str, Any]]:
    """Rows of what probes recognise among the asked scenes, part by part."""
    space, split = embedded.space, embedded.split
    for part, chosen in in_parts(embedded, ask):
        scenes = embedded.scenes[chosen]
        found = concept_share(space, scenes, probes.concept_scores(x[chosen]))
        yield _keys("concept", part) | found.row()
        scores = probes.object_scores(x[chosen])
        even = balanced(embedded, chosen)
        for name, bank in _banks(split, part):
            found, best = object_share(space, scenes, scores, bank)
            yield _keys("object", part, name, best) | found.row()
            found, best = object_share(space, scenes[even], scores[even], bank)
            yield _keys("object", part, name, best, balanced=True) | found.row()


def _object_level(
    embedded: EmbeddedScenes, side: str, *, seed: int, device: torch.device | str
) -> list[dict[str, Any]]:
    """Concept probes fitted on train objects, asked on unseen ones; objects cannot be."""
    if embedded.split is None:
        return []
    keys = {"protocol": "objects", "fitted": side, "asked": side}
    objects = _keys("object", Part.unseen.name, "full") | missing(UNKNOWN_OBJECTS).row()
    concept = _keys("concept", Part.unseen.name)
    train, unseen = embedded.of(Part.train), embedded.of(Part.unseen)
    if not len(train.scenes):
        return [keys | concept | missing("there are no scenes of train objects").row()]
    weights = [
        fit_probe(getattr(train, side), present, seed=seed, device=device)
        for present in concept_presence(train.space, train.scenes)
    ]
    scores = [getattr(unseen, side) @ weight.T for weight in weights]
    found = concept_share(unseen.space, unseen.scenes, scores)
    return [keys | concept | found.row(), keys | objects]


def in_parts(embedded: EmbeddedScenes, rows: Rows) -> Iterator[tuple[str, Rows]]:
    """Name and rows of the parts that are told apart."""
    if embedded.split is None:
        yield "all", rows
        return
    parts = embedded.split.parts(embedded.scenes[rows])
    for part in Part:
        yield part.name, rows[parts == int(part)]


def _banks(split: ObjectSplit | None, part: str) -> Iterator[tuple[str, Rows | None]]:
    """Name and objects of the banks in which objects of a part are told apart."""
    yield "full", None
    if split is not None and part == Part.unseen.name:
        yield "held_out", split.unseen


def _prototypes(
    embedded: EmbeddedScenes, objects: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    """Of every concept [values, d]: the mean of the objects that have the value."""
    space, split = embedded.space, embedded.split
    known = np.arange(space.objects) if split is None else split.train
    found = []
    for concept, size in enumerate(space.sizes):
        has = space.table[known, concept][None, :] == np.arange(size)[:, None]
        means = has @ objects[known].astype(np.float64) / has.sum(axis=1, keepdims=True)
        found.append(means.astype(np.float32))
    return found


def _keys(
    kind: str,
    part: str | None,
    bank: str | None = None,
    best: float | None = None,
    *,
    balanced: bool = False,
) -> dict[str, Any]:
    return {"kind": kind, "part": part, "bank": bank, "balanced": balanced, "bag_best": best}


def _no_side(protocol: str, side: str, kind: str) -> dict[str, Any]:
    keys = {"protocol": protocol, "fitted": side, "asked": side}
    return keys | _keys(kind, None) | missing(NO_SIDE).row()
