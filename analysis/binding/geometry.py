"""Are embeddings of scenes sums of parts: of objects, and objects of concepts?

Additive decomposition of Uselis et al. 2026, around the mean embedding b of the fitted scenes:

    level I     f(s) ≈ b + Σ_i u[o_i]
    level II    u[o] ≈ Σ_k w_k[c_k(o)],  so that f(s) ≈ b + Σ_i Σ_k w_k[c_k(o_i)]

Estimators of u:

    avg       u[o] = mean of f - b over scenes that hold o, in whatever slot
    avg_pos   the same of scenes that hold o in slot i: a table for every slot
    single    u[o] = α (f(scene of o alone) - mean over objects), one α by least squares: where
              embeddings have length 1, an object takes less of a scene of several
    fitted    least squares, a table for every slot, the smallest of all solutions

Everything is centred: b, and tables whose mean over the fitted scenes is 0. Without that a constant
part of all embeddings, such as the modality gap, would be counted once for every object of a scene,
and R² would credit u with it. Averages are exact where objects of a scene are independent of one
another; where they never share a value, they are a little off, and least squares is exact.

An additive decomposition of level I holds for scenes whose objects are bound by a rule as well as
for those that are memorised: it says that objects are there, and nothing about binding by a rule.
That is in level II, which only a bag of concepts satisfies.

Legend: n scenes, m objects of a scene, d dimensions, t tables (1 or m), O objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from analysis.binding.shares import NOTHING, Share, explained_sums
from gen.scenes.space import ConceptSpace, Objects

Estimator = Literal["avg", "avg_pos", "single", "fitted"]
ESTIMATORS: tuple[Estimator, ...] = get_args(Estimator)
SMALL = 1e-10
"""share of the largest eigenvalue below which a direction of the design counts as absent"""


@dataclass(frozen=True)
class ObjectParts:
    """Parts of objects, and of concepts, in the embedding of a scene.

    Attributes:
        mean: [d] b.
        objects: [t, O, d] u, a table for every slot or one for all; 0 where nothing is known.
        known: [t, O] which objects the estimate rests on.
        concepts: [t, O, d] Σ_k w_k[c_k] of every object, also of objects that are not known.
        counts: [t, O] in how many fitted scenes an object stands.
    """

    mean: NDArray[np.float64]
    objects: NDArray[np.float64]
    known: NDArray[np.bool_]
    concepts: NDArray[np.float64]
    counts: NDArray[np.float64]

    def object_part(self, scenes: Objects) -> NDArray[np.float64]:
        """[n, d] Σ_i u[o_i] of the scenes [n, m]."""
        return _summed(self.objects, scenes)

    def concept_part(self, scenes: Objects) -> NDArray[np.float64]:
        """[n, d] Σ_i Σ_k w_k[c_k(o_i)] of the scenes [n, m]."""
        return _summed(self.concepts, scenes)

    def covers(self, scenes: Objects) -> NDArray[np.bool_]:
        """[n] whether all objects of the scenes [n, m] are known in their slots."""
        return np.asarray(_each(self.known, scenes).all(axis=1))


def decompose(
    space: ConceptSpace,
    scenes: Objects,
    embeddings: NDArray[np.floating],
    estimator: Estimator,
    singles: NDArray[np.floating] | None = None,
) -> ObjectParts:
    """Estimate the parts.

    Args:
        space: the world.
        scenes: [n, m], with their embeddings [n, d].
        embeddings: of one side; of whatever length.
        estimator: see above.
        singles: [O, d] embeddings of the scenes of one object, for `single`.

    Raises:
        ValueError: there are no scenes, or no embeddings of single objects where they are needed.
    """
    if not len(scenes):
        raise ValueError("there are no scenes to decompose")
    y = embeddings.astype(np.float64)
    mean = y.mean(axis=0)
    counts = _counts(space, scenes, shared=estimator in ("avg", "single"))
    if estimator == "single":
        if singles is None or not len(singles):
            raise ValueError("there are no embeddings of single objects")
        objects = _of_singles(scenes, y - mean, singles, counts)
        known = np.ones((1, space.objects), dtype=bool)
    else:
        known = counts > 0
        solve = _least_squares if estimator == "fitted" else _averages
        objects = solve(scenes, y - mean, counts)
    objects = _centred(objects, counts) * known[..., None]
    return ObjectParts(mean, objects, known, _concept_tables(space, objects, known, counts), counts)


def concept_share_of_objects(parts: ObjectParts, seed: int) -> Share:
    """R² of level II: the share of the objects' variance that concepts explain.

    Objects weigh as often as they stand in fitted scenes. 1 of a bag of concepts; of objects
    without any relation to concepts Σ_k (V_k - 1) / (O - 1) is expected.

    Args:
        parts: of objects and concepts.
        seed: of the bootstrap over objects.
    """
    weights = (parts.counts * parts.known)[..., None]
    spread = (weights * parts.objects**2).sum(axis=(0, 2))
    left = (weights * (parts.objects - parts.concepts) ** 2).sum(axis=(0, 2))
    known = weights.sum(axis=(0, 2)) > 0
    size = float((weights * parts.mean**2).sum())
    if spread.sum() <= NOTHING * max(size, NOTHING):
        spread = np.zeros_like(spread)
    return explained_sums(left[known], spread[known], int(known.sum()), seed)


def permuted(parts: ObjectParts, random: np.random.Generator) -> ObjectParts:
    """The same parts, given to other objects: the control that takes away as much, elsewhere.

    Objects exchange their parts, as rows of a table: every object gets those of another one that is
    known in the same slots, where there is one.
    """
    order = np.arange(parts.known.shape[1])
    everywhere = np.flatnonzero(parts.known.all(axis=0))
    shift = random.permutation(everywhere)
    # one cycle through all of them: none keeps its own
    order[shift] = np.roll(shift, 1)
    return ObjectParts(
        parts.mean, parts.objects[:, order], parts.known, parts.concepts[:, order], parts.counts
    )


def _each(tables: NDArray, scenes: Objects) -> NDArray:
    """[n, m, …] entries of the tables [t, O, …] at the objects of the scenes [n, m]."""
    slots = np.arange(scenes.shape[1]) if len(tables) > 1 else np.zeros(scenes.shape[1], dtype=int)
    return tables[slots[None, :], scenes]


def _summed(tables: NDArray[np.float64], scenes: Objects) -> NDArray[np.float64]:
    """[n, d] sums over slots, one at a time: no array of all slots is made."""
    slots = range(scenes.shape[1])
    return np.asarray(sum(tables[min(slot, len(tables) - 1)][scenes[:, slot]] for slot in slots))


def _counts(space: ConceptSpace, scenes: Objects, *, shared: bool) -> NDArray[np.float64]:
    """[t, O] in how many scenes an object stands, by slot or in all of them."""
    counts = [np.bincount(slot, minlength=space.objects) for slot in scenes.T]
    return np.array([sum(counts)] if shared else counts, dtype=np.float64)


def _of_singles(
    scenes: Objects,
    y: NDArray[np.float64],
    singles: NDArray[np.floating],
    counts: NDArray[np.float64],
) -> NDArray[np.float64]:
    """[1, O, d] embeddings of single objects [O, d], centred and scaled to fit y [n, d]."""
    tables = _centred(singles.astype(np.float64)[None], counts)
    made = _summed(tables, scenes)
    scale = float((made * y).sum()) / max(float((made**2).sum()), 1e-30)
    return np.asarray(scale * tables)


def _averages(
    scenes: Objects, y: NDArray[np.float64], counts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """[t, O, d] means of y [n, d] over the scenes that hold an object."""
    sums = np.zeros((*counts.shape, y.shape[1]))
    for slot in range(scenes.shape[1]):
        np.add.at(sums[min(slot, len(sums) - 1)], scenes[:, slot], y)
    return sums / np.maximum(counts, 1)[..., None]


def _least_squares(
    scenes: Objects, y: NDArray[np.float64], counts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """[m, O, d] the shortest u that minimises ‖y - Σ_i u_i[o_i]‖², by normal equations."""
    slots, objects = counts.shape
    columns = scenes + objects * np.arange(slots)
    gram = np.zeros((slots * objects, slots * objects))
    for first in range(slots):
        for second in range(slots):
            np.add.at(gram, (columns[:, first], columns[:, second]), 1.0)
    right = np.zeros((slots * objects, y.shape[1]))
    for slot in range(slots):
        np.add.at(right, columns[:, slot], y)
    values, vectors = np.linalg.eigh(gram)
    kept = values > SMALL * values[-1]
    basis = vectors[:, kept]
    found = basis @ ((basis.T @ right) / values[kept, None])
    return np.asarray(found.reshape(slots, objects, -1))


def _centred(tables: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Tables whose mean over the fitted scenes is 0, so that what all share is in b alone."""
    total = np.maximum(counts.sum(axis=1), 1)[:, None, None]
    return np.asarray(tables - (counts[..., None] * tables).sum(axis=1, keepdims=True) / total)


def _concept_tables(
    space: ConceptSpace,
    objects: NDArray[np.float64],
    known: NDArray[np.bool_],
    counts: NDArray[np.float64],
) -> NDArray[np.float64]:
    """[t, O, d] least squares of the known objects on their values, weighted by their counts."""
    design = np.concatenate(
        [
            space.table[:, concept, None] == np.arange(size)
            for concept, size in enumerate(space.sizes)
        ],
        axis=1,
    ).astype(np.float64)
    found = np.zeros_like(objects)
    for table in range(len(objects)):
        # an object of the single estimator may stand in no scene and is known nevertheless
        weights = known[table] * np.maximum(counts[table], 1)
        root = np.sqrt(weights)[:, None]
        values, *_ = np.linalg.lstsq(design * root, objects[table] * root, rcond=SMALL)
        found[table] = design @ values
    return found
