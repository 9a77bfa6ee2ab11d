"""Binding across modalities: does an image prefer its caption to one that binds otherwise?

Four questions of every scene, of growing difficulty, for scenes of train objects and of unseen
objects apart (Koishigarina, Uselis & Oh 2026; matched as in `gen.scenes.swaps`):

    replaced   against a caption with one value of one object replaced: concepts suffice
    swap       against the caption whose first two objects have exchanged a value
    rebound    against k captions that bind the same concepts otherwise
    bank       against all captions of the part: R@1, R@5, and how often the first is the swap

A tie counts as the share of it that a guess would win, and what differs by less than TIE ties: a
bag of concepts scores exactly 1/2 at the swap, not what its rounding decides.

Legend: n scenes, d dimensions, b captions of a bank, k negatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.binding.embedded import EmbeddedScenes
from analysis.binding.rebindings import families, object_sets, places, rebindings
from analysis.binding.shares import Share, missing, share
from gen.scenes.coverage import Part
from gen.scenes.space import ConceptSpace, Objects
from gen.scenes.swaps import differs, matched, swapped

TIE = 2e-6
"""difference of two cosines that float32 embeddings do not tell from none"""
RANKS = (1, 5)
NEGATIVES = (1, 5)
"""rebindings beside the right caption: all that scenes of two and of three objects have, where
there are two concepts"""
CHUNK = 1024
"""images that are ranked at once"""
NO_CAPTIONS = "there are no captions of scenes"
NO_MATCH = "no scene has a swap of the same part"
NO_REBINDING = "no scene has so many rebindings among the captions of its part"


def swap_rows(embedded: EmbeddedScenes, *, seed: int = 0) -> list[dict[str, Any]]:
    """All scores of this module, for every part: rows of a table.

    Args:
        embedded: scenes of two objects or more, with their captions.
        seed: draws the replaced values and which rebindings are shown.

    Returns:
        Rows of `Share` with `part` ("train", "unseen"; "all" where the split is not known), `score`
        ("replaced", "swap", "rebound", "R@1", "R@5", "reversed") and `negatives`, captions beside
        the right one (None: those of the bank).
    """
    rows = []
    for name, part in parts(embedded):
        rows.append(
            replaced_accuracy(part, seed=seed).row(part=name, score="replaced", negatives=1)
        )
        rows.append(swap_accuracy(part).row(part=name, score="swap", negatives=1))
        most = rebindings(part.space, part.scenes[:1]).shape[1]
        for k in (count for count in NEGATIVES if count <= most):
            scored = rebound_accuracy(part, k, seed=seed)
            rows.append(scored.row(part=name, score="rebound", negatives=k))
        for score, value in bank_retrieval(part).items():
            rows.append(value.row(part=name, score=score, negatives=None))
    return rows


def parts(embedded: EmbeddedScenes) -> list[tuple[str, EmbeddedScenes]]:
    """Name and scenes of what is scored apart; scenes that mix train and unseen objects are not."""
    if embedded.split is None:
        return [("all", embedded)]
    return [(part.name, embedded.of(part)) for part in (Part.train, Part.unseen)]


def fair(embedded: EmbeddedScenes) -> NDArray[np.bool_]:
    """[n] whether a scene's swap holds other objects, all of the part of the scene's own."""
    scenes = embedded.scenes
    if scenes.shape[1] < 2:
        return np.zeros(len(scenes), dtype=bool)
    others = swapped(embedded.space, scenes, 0)
    chosen = differs(scenes, others)
    if embedded.split is not None:
        chosen &= matched(embedded.split, scenes, others)
    return chosen


def balanced(embedded: EmbeddedScenes, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """[r] whether a row's swap is fair and stands among the rows as well, in whatever order.

    Where only one of two bindings is asked, or shown, a bag of concepts is right by knowing which
    one there is. Over balanced scenes it is right for one half, where both are asked equally often.
    """
    chosen = fair(embedded)[rows]
    if not chosen.any():
        return chosen
    scenes = embedded.scenes[rows]
    sets = object_sets(np.concatenate([scenes, swapped(embedded.space, scenes, 0)]))
    return np.asarray(chosen & np.isin(sets[len(rows) :], sets[: len(rows)]))


def preference(
    own: NDArray[np.floating], others: NDArray[np.floating], tolerance: float = TIE
) -> NDArray[np.float64]:
    """[n] 1 where the right answer is best, 0 where another is, its share of the tie else.

    Args:
        own: [n] similarities of the right answers.
        others: [n, k] similarities of the wrong ones.
        tolerance: difference that counts as none.

    Raises:
        ValueError: a similarity is not finite: no answer would be beaten by it.
    """
    if not (np.isfinite(own).all() and np.isfinite(others).all()):
        raise ValueError("similarities are not finite")
    gap = own[:, None].astype(np.float64) - others
    beaten = (gap < -tolerance).any(axis=1)
    ties = (np.abs(gap) <= tolerance).sum(axis=1)
    return np.where(beaten, 0.0, 1 / (1 + ties))


def swap_accuracy(embedded: EmbeddedScenes) -> Share:
    """How often an image is nearer to its caption than to the swap of it; a bag scores 1/2."""
    chosen = np.flatnonzero(fair(embedded))
    if not len(chosen):
        return missing(NO_MATCH)
    if not len(embedded.swaps) or not len(embedded.texts):
        return missing(NO_CAPTIONS)
    part = embedded.rows(chosen)
    own, other = cosines(part.images, part.texts), cosines(part.images, part.swaps)
    right = preference(own, other[:, None])
    clusters = families(part.space, part.scenes)
    return share(right, clusters, floor=0.5, chance=0.5)


def rebound_accuracy(embedded: EmbeddedScenes, k: int, *, seed: int) -> Share:
    """How often an image is nearest to its caption of k + 1 that hold the same concepts.

    Rebindings are looked up among the captions of the given scenes, which must be of one part: so
    they are matched. Scenes with fewer than k that hold other objects, each another set, are left
    out. A bag scores 1/(k + 1), as does a guess.

    Args:
        embedded: scenes of one part.
        k: wrong captions.
        seed: draws which ones.
    """
    if not len(embedded.texts) or not len(embedded.scenes):
        return missing(NO_CAPTIONS)
    there = _other_bindings(embedded.space, embedded.scenes)
    chosen = np.flatnonzero((there >= 0).sum(axis=1) >= k)
    if not len(chosen):
        return missing(NO_REBINDING)
    shown = _drawn(there[chosen], k, seed)
    own, others = _compared(embedded, chosen, shown)
    clusters = families(embedded.space, embedded.scenes)[chosen]
    return share(preference(own, others), clusters, floor=1 / (k + 1), chance=1 / (k + 1))


def replaced_accuracy(embedded: EmbeddedScenes, *, seed: int) -> Share:
    """How often an image is nearer to its caption than to one with one value replaced.

    The other caption is that of a given scene, and of one part with them; its value is none of the
    scene's own. A bag of concepts can be right always, so the floor is 1: what is missing to 1 is
    no lack of binding.
    """
    if not len(embedded.texts) or not len(embedded.scenes):
        return missing(NO_CAPTIONS)
    there = _replacements(embedded.space, embedded.scenes)
    chosen = np.flatnonzero((there >= 0).any(axis=1))
    if not len(chosen):
        return missing("no scene differs from another by one value")
    own, others = _compared(embedded, chosen, _drawn(there[chosen], 1, seed))
    clusters = families(embedded.space, embedded.scenes)[chosen]
    return share(preference(own, others), clusters, floor=1.0, chance=0.5)


@dataclass(frozen=True)
class _Bank:
    """Captions of a part, sorted by the objects that they name.

    Attributes:
        texts: [b, d], those that name the same objects in other orders beside each other.
        starts: [s] where a set of objects begins.
        own: [n] number of every image's set.
        swap: [n] number of the set of its swap, or -1.
        family: [s] number of the family of the set.
    """

    texts: NDArray[np.float32]
    starts: NDArray[np.int64]
    own: NDArray[np.int64]
    swap: NDArray[np.int64]
    family: NDArray[np.int64]


def bank_retrieval(embedded: EmbeddedScenes, ranks: Sequence[int] = RANKS) -> dict[str, Share]:
    """R@k of an image's caption among all captions of a part, and how often its swap is first.

    A caption that names the same objects in another order is right as well, so that sets of objects
    are ranked, each by its best caption. `reversed` is of the scenes whose swap is in the bank. The
    floor is that of a bag that knows all concepts and guesses among the sets that hold them.

    Returns:
        "R@1", …, "reversed".
    """
    names = [*(f"R@{rank}" for rank in ranks), "reversed"]
    if not len(embedded.texts) or not len(embedded.scenes):
        return {name: missing(NO_CAPTIONS) for name in names}
    bank = _bank(embedded)
    right, first = _ranked(embedded.images, bank, ranks)
    clusters = families(embedded.space, embedded.scenes)
    sets, alike = len(bank.starts), np.bincount(bank.family)[bank.family[bank.own]]
    found = {
        name: share(values, clusters, floor=np.minimum(1, rank / alike), chance=min(1, rank / sets))
        for name, rank, values in zip(names, ranks, right, strict=False)
    }
    has = bank.swap >= 0
    floor = 1 / alike[has] if has.any() else None
    found["reversed"] = share(
        first[has], clusters[has], floor=floor, chance=1 / sets, reason=NO_MATCH
    )
    return found


def cosines(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """[n] cosines of the rows of two lists of embeddings, in double precision."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    sizes = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(axis=1) / np.maximum(sizes, 1e-30))


def unit(embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rows brought to length 1, in double precision."""
    x = embeddings.astype(np.float64)
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-30))


def _other_bindings(space: ConceptSpace, scenes: Objects) -> NDArray[np.int64]:
    """[n, R] rows of the scenes' rebindings, or -1: not there, or a set of objects met before."""
    bound = rebindings(space, scenes)
    there = places(bound, scenes)
    sets = object_sets(np.concatenate([scenes, bound.reshape(-1, scenes.shape[1])]))
    own, others = sets[: len(scenes)], sets[len(scenes) :].reshape(there.shape)
    there[others == own[:, None]] = -1
    for column in range(1, there.shape[1]):
        repeated = (others[:, :column] == others[:, column, None]) & (there[:, :column] >= 0)
        there[repeated.any(axis=1), column] = -1
    return there


def _replacements(space: ConceptSpace, scenes: Objects) -> NDArray[np.int64]:
    """[n, …] rows of the scenes that differ in one value which the scene has not, or -1."""
    values = space.table[scenes]
    found = []
    for slot in range(scenes.shape[1]):
        for concept, size in enumerate(space.sizes):
            changed = np.repeat(values[:, None], size, axis=1)
            changed[:, :, slot, concept] = np.arange(size)
            rows = places(space.numbers(changed), scenes)
            has = (values[:, None, :, concept] == np.arange(size)[:, None]).any(axis=2)
            found.append(np.where(has, -1, rows))
    return np.concatenate(found, axis=1)


def _drawn(there: NDArray[np.int64], k: int, seed: int) -> NDArray[np.int64]:
    """[n, k] of every row's entries that are not -1, drawn without replacement."""
    order = np.random.default_rng(seed).random(there.shape)
    order[there < 0] = 2.0
    return np.take_along_axis(there, np.argsort(order, axis=1)[:, :k], axis=1)


def _compared(
    embedded: EmbeddedScenes, chosen: NDArray[np.int64], shown: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Similarities of images to their captions [n] and to those of other rows [n, k]."""
    images = embedded.images[chosen]
    own = cosines(images, embedded.texts[chosen])
    others = [cosines(images, embedded.texts[rows]) for rows in shown.T]
    return own, np.stack(others, axis=1)


def _bank(embedded: EmbeddedScenes) -> _Bank:
    scenes = embedded.scenes
    others = swapped(embedded.space, scenes, 0) if scenes.shape[1] > 1 else scenes
    numbers = object_sets(np.concatenate([scenes, others]))
    own, swaps = numbers[: len(scenes)], numbers[len(scenes) :]
    order = np.argsort(own, kind="stable")
    present, starts = np.unique(own[order], return_index=True)
    place = np.full(numbers.max() + 1, -1, dtype=np.int64)
    place[present] = np.arange(len(present))
    swap = np.where(fair(embedded), place[swaps], -1)
    family = families(embedded.space, scenes)[order][starts]
    return _Bank(embedded.texts[order], starts, place[own], swap, family)


def _ranked(
    images: NDArray[np.float32], bank: _Bank, ranks: Sequence[int]
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """How right every image is at every rank, and its swap's share of the first place."""
    texts = unit(bank.texts).T
    right: list[list[NDArray[np.float64]]] = [[] for _ in ranks]
    first = []
    for start in range(0, len(images), CHUNK):
        here = slice(start, start + CHUNK)
        scores = np.maximum.reduceat(unit(images[here]) @ texts, bank.starts, axis=1)
        own = np.take_along_axis(scores, bank.own[here, None], axis=1)
        better = (scores > own + TIE).sum(axis=1)
        tied = (np.abs(scores - own) <= TIE).sum(axis=1)
        for found, rank in zip(right, ranks, strict=True):
            found.append(np.clip((rank - better) / tied, 0, 1))
        best = scores >= scores.max(axis=1, keepdims=True) - TIE
        swap = np.take_along_axis(best, np.maximum(bank.swap[here, None], 0), axis=1)[:, 0]
        first.append(np.where(bank.swap[here] >= 0, swap, False) / best.sum(axis=1))
    return [np.concatenate(found) for found in right], np.concatenate(first)
