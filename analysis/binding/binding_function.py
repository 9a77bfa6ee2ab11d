"""The binding function: how simple a rule predicts a model's scenes from their concepts?

    B(s) = f(x_s)  for the objects s of a scene x_s

is how a frozen encoder f binds. It is fitted by classes of functions of rising complexity
(`approximators`) on scenes of some objects, and asked for scenes of objects that the fit never saw
(Uselis et al. 2026). Whether it predicted the objects is told by linear probes, fitted beforehand
on true embeddings of scenes of all objects and then frozen: they read the predicted embedding as
they read the true one, whose own score is the ceiling. A rule that extends to unseen objects is
simple; a table of objects is not.

A probe that was fitted on a scene, or on its swap, knows by heart how it is bound, whatever the
embedding shows. So probes come in folds: every family of scenes (`rebindings.families`) is read by
those that were fitted on the other folds' families. And only scenes whose swap is among the scenes
as well are asked: of others a bag of concepts is bound by knowing which scenes there are.

The split into fitted and unseen objects is the approximators' own, drawn for every fraction and
seed, and independent of the split that the model was trained with: it asks for the form of f, not
for what f has seen. How many of the unseen objects the model did see stands beside it.

Legend: n scenes, m objects of a scene, d dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from analysis.binding.approximators import LADDER, Approximator, fit_approximator
from analysis.binding.embedded import EmbeddedScenes
from analysis.binding.rebindings import families
from analysis.binding.recognition import (
    SceneProbes,
    concept_share,
    fit_scene_probes,
    object_share,
)
from analysis.binding.shares import Share, explained, missing
from analysis.binding.swap_retrieval import balanced
from gen.scenes.coverage import ObjectSplit, Part, split_objects
from gen.scenes.space import ConceptSpace, Objects
from splits.errors import UserError

FRACTIONS = (0.1, 0.3, 0.5, 0.7, 0.9)
SEEDS = (0, 1, 2)
PROBED, FITTED, ASKED = 4000, 5000, 1000
"""scenes, at most, that a fold's probes are fitted on, that approximators are fitted on, and that
are asked of every part: drawn, so that the cost does not grow with the scenes there are"""
STREAM = 1
"""of splits of approximators, apart from those of models"""
FOLDS = 5
"""of families of scenes: each is read by probes that were fitted on the others"""
NONE_ASKED = "there are no scenes of this part whose swap is there as well"

Side = Literal["images", "texts"]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Told:
    """One score of embeddings, true or predicted.

    Attributes:
        kind: "concept", "object", or "r2" of the embeddings themselves.
        bank: objects among which it tells: "full" or "held_out"; None where it is of no objects.
        found: the score.
        bag_best: the most that a bag of concepts can reach; None of others than objects.
    """

    kind: str
    bank: str | None
    found: Share
    bag_best: float | None = None


@dataclass(frozen=True)
class HeldOutProbes:
    """Probes of scenes whose families they were not fitted on.

    Attributes:
        fold: [n] of every scene.
        probes: of every fold, fitted on the scenes of the others.
    """

    fold: NDArray[np.int64]
    probes: tuple[SceneProbes, ...]

    def concept_scores(self, rows: Rows, x: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Of every concept [r, values], of embeddings [r, d] of some scenes."""
        found = [probes.concept_scores(x) for probes in self.probes]
        return [self._own(rows, np.stack(scores)) for scores in zip(*found, strict=True)]

    def object_scores(self, rows: Rows, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """[r, objects] of embeddings [r, d] of some scenes."""
        return self._own(rows, np.stack([probes.object_scores(x) for probes in self.probes]))

    def _own(self, rows: Rows, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """[r, …] of scores [folds, r, …] those of the row's own fold."""
        return np.asarray(scores[self.fold[rows], np.arange(len(rows))])


def fit_held_out(
    space: ConceptSpace,
    scenes: Objects,
    embeddings: NDArray[np.float32],
    *,
    seed: int,
    device: torch.device | str = "cpu",
) -> HeldOutProbes:
    """Probes of every fold, in which a family of scenes is never divided.

    Args:
        space: the world.
        scenes: [n, m].
        embeddings: [n, d] of one side.
        seed: of the folds, of the scenes that are drawn, and of the first weights.
        device: on which to fit.
    """
    family = families(space, scenes)
    fold = np.random.default_rng(seed).permutation(family.max() + 1)[family] % FOLDS
    probes = []
    for number in range(FOLDS):
        chosen = _drawn(np.flatnonzero(fold != number), PROBED, seed)
        shown = scenes[chosen], embeddings[chosen]
        probes.append(fit_scene_probes(space, *shown, seed=seed, device=device))
    return HeldOutProbes(fold, tuple(probes))


@dataclass(frozen=True)
class _Asked:
    """Scenes of one part, and what the probes tell of their true embeddings."""

    part: Part
    rows: Rows
    scenes: Objects
    true: NDArray[np.float32]
    bank: Rows
    """objects that the fit does not see"""
    ceilings: tuple[Told, ...] = ()


def binding_rows(
    embedded: EmbeddedScenes,
    side: Side,
    *,
    approximators: Sequence[Approximator] = LADDER,
    fractions: Sequence[float] = FRACTIONS,
    seeds: Sequence[int] = SEEDS,
    device: torch.device | str = "cpu",
) -> list[dict[str, Any]]:
    """What every class of functions predicts, from every share of the objects, in every split.

    Args:
        embedded: scenes; best all scenes of the space, or many: a split uses those that it allows.
        side: whose embeddings are predicted.
        approximators: classes of functions.
        fractions: shares of the objects that are fitted.
        seeds: of the splits; also of the fits, as one seed belongs to one split.
        device: on which to fit.

    Returns:
        Rows with `side`, `class`, `width`, `fraction`, `split_seed`, `part` ("train", "unseen",
        "mixed"), `bank`, `kind` (see `Told`), the fields of `Share` (`value`, `lo`, `hi`, `n`, …,
        over the scenes of one split), `ceiling`, that of the true embeddings, with `ceiling_lo` and
        `ceiling_hi`, `bag_best`, and
        `known`, the share of the split's unseen objects that the model was trained on (None where
        its training is not known). What a split does not allow is a row without a value and with a
        `reason`.

    Raises:
        ValueError: there are no embeddings of that side.
    """
    embeddings: NDArray[np.float32] = getattr(embedded, side)
    if not len(embeddings):
        raise ValueError(f"there are no embeddings of {side}")
    space, scenes = embedded.space, embedded.scenes
    probes = fit_held_out(space, scenes, embeddings, seed=seeds[0], device=device)
    rows: list[dict[str, Any]] = []
    for fraction in fractions:
        for seed in seeds:
            keys = {"side": side, "fraction": fraction, "split_seed": seed, "known": None}
            try:
                split = own_split(space, fraction, seed)
            except UserError as error:
                reason = f"{error.found}; expected {error.expected}"
                rows += [keys | row for row in _refused(approximators, reason)]
                continue
            if embedded.split is not None:
                keys["known"] = float(np.isin(split.unseen, embedded.split.train).mean())
            options: dict[str, Any] = {"approximators": approximators, "device": device}
            found = _split_rows(embedded, embeddings, probes, split, seed=seed, **options)
            rows += [keys | row for row in found]
    return rows


def own_split(space: ConceptSpace, fraction: float, seed: int) -> ObjectSplit:
    """A split for functions, which no model was trained with: splits of one seed hold one another.

    Raises:
        UserError: the fraction cannot show every value, or leaves no object.
    """
    own = int(np.random.default_rng([seed, STREAM]).integers(2**31))
    return split_objects(space, fraction, own)


def _split_rows(
    embedded: EmbeddedScenes,
    embeddings: NDArray[np.float32],
    probes: HeldOutProbes,
    split: ObjectSplit,
    *,
    seed: int,
    approximators: Sequence[Approximator],
    device: torch.device | str,
) -> Iterator[dict[str, Any]]:
    """Rows of one split."""
    space, scenes = embedded.space, embedded.scenes
    parts = split.parts(scenes)
    fitted = _drawn(np.flatnonzero(parts == int(Part.train)), FITTED, seed)
    if not _shows_all(space, scenes[fitted]):
        yield from _refused(approximators, "fitted scenes do not show every value in every slot")
        return
    even = balanced(replace(embedded, split=None), np.arange(len(scenes)))
    asked = []
    for part in Part:
        rows = _drawn(np.flatnonzero(even & (parts == int(part))), ASKED, seed)
        blank = _Asked(part, rows, scenes[rows], embeddings[rows], split.unseen)
        asked.append(replace(blank, ceilings=tuple(_told(space, blank, blank.true, probes))))
    for approximator in approximators:
        predict = fit_approximator(
            approximator,
            space.sizes,
            space.table[scenes[fitted]],
            embeddings[fitted],
            seed=seed,
            device=device,
        )
        for question in asked:
            values = space.table[question.scenes]
            expected = predict(values) if len(values) else question.true
            told = _told(space, question, expected, probes)
            for score, ceiling in zip(told, question.ceilings, strict=True):
                yield _keys(approximator) | _row(question.part, score, ceiling.found)


def _told(
    space: ConceptSpace, asked: _Asked, shown: NDArray[np.float32], probes: HeldOutProbes
) -> Iterator[Told]:
    """All scores of embeddings `shown` [n, d] of the scenes."""
    rows, scenes = asked.rows, asked.scenes
    banks = {"full": None, "held_out": asked.bank}
    named = list(banks) if asked.part is Part.unseen else ["full"]
    if not len(scenes):
        none = missing(NONE_ASKED)
        yield from (Told("concept", None, none), *(Told("object", bank, none) for bank in named))
        yield Told("r2", None, none)
        return
    concepts = probes.concept_scores(rows, shown)
    yield Told("concept", None, concept_share(space, scenes, concepts))
    objects = probes.object_scores(rows, shown)
    for bank in named:
        found, best = object_share(space, scenes, objects, banks[bank])
        yield Told("object", bank, found, best)
    r2 = explained(asked.true, shown, families(space, scenes), seed=0)
    yield Told("r2", None, r2)


def _keys(approximator: Approximator) -> dict[str, Any]:
    return {"class": approximator.kind, "width": approximator.width}


def _row(part: Part, told: Told, ceiling: Share) -> dict[str, Any]:
    keys = {"part": part.name, "bank": told.bank, "kind": told.kind}
    true = {"ceiling": ceiling.value, "ceiling_lo": ceiling.lo, "ceiling_hi": ceiling.hi}
    return told.found.row(**keys) | true | {"bag_best": told.bag_best}


def _refused(approximators: Sequence[Approximator], reason: str) -> Iterator[dict[str, Any]]:
    """Rows without values: of unseen objects, which is what would have been asked."""
    for approximator in approximators:
        for kind, bank in (("concept", None), ("object", "full"), ("object", "held_out")):
            told = Told(kind, bank, missing(reason))
            yield _keys(approximator) | _row(Part.unseen, told, told.found)


def _shows_all(space: ConceptSpace, scenes: Objects) -> bool:
    """Whether every slot of scenes [n, m] shows every value of every concept."""
    values = space.table[scenes]
    return all(
        len(np.unique(values[:, slot, k])) == size
        for slot in range(scenes.shape[1])
        for k, size in enumerate(space.sizes)
    )


def _drawn(rows: Rows, most: int, seed: int) -> Rows:
    """At most so many of the rows."""
    return np.random.default_rng(seed).permutation(rows)[:most]
