"""The binding function: how simple a rule predicts a model's scenes from their concepts?

    B(s) = f(x_s)  for the objects s of a scene x_s

is how a frozen encoder f binds. It is fitted by classes of functions of rising complexity
(`approximators`) on scenes of some objects, and asked for scenes of objects that the fit never saw
(Uselis et al. 2026). Whether it predicted the objects is told by linear probes, fitted beforehand
on true embeddings of all scenes and then frozen: they read the predicted embedding as they read the
true one, whose own score is the ceiling. A rule that extends to unseen objects is simple; a table
of objects is not.

The split into fitted and unseen objects is the approximators' own, drawn for every fraction and
seed whatever the model was trained on: it asks for the form of f, not for what f has seen.

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
from gen.scenes.coverage import ObjectSplit, Part, split_objects
from gen.scenes.space import ConceptSpace, Objects
from splits.errors import UserError

FRACTIONS = (0.1, 0.3, 0.5, 0.7, 0.9)
SEEDS = (0, 1, 2)
PROBED, FITTED, ASKED = 4000, 5000, 1000
"""scenes, at most, that probes are fitted on, that approximators are fitted on, and that are asked
of every part: drawn, so that the cost does not grow with the scenes there are"""

Side = Literal["images", "texts"]


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
class _Asked:
    """Scenes of one part, and what the probes tell of their true embeddings."""

    part: Part
    space: ConceptSpace
    scenes: Objects
    true: NDArray[np.float32]
    bank: NDArray[np.int64]
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
        over the scenes of one split), `ceiling`, that of the true embeddings, and `bag_best`. What
        a split does not allow is a row without a value and with a `reason`.

    Raises:
        ValueError: there are no embeddings of that side.
    """
    embeddings: NDArray[np.float32] = getattr(embedded, side)
    if not len(embeddings):
        raise ValueError(f"there are no embeddings of {side}")
    chosen = _drawn(np.arange(len(embeddings)), PROBED, seeds[0])
    probes = fit_scene_probes(
        embedded.space, embedded.scenes[chosen], embeddings[chosen], seed=seeds[0], device=device
    )
    rows: list[dict[str, Any]] = []
    for fraction in fractions:
        for seed in seeds:
            keys = {"side": side, "fraction": fraction, "split_seed": seed}
            try:
                split = split_objects(embedded.space, fraction, seed)
            except UserError as error:
                reason = f"{error.found}; expected {error.expected}"
                rows += [keys | row for row in _refused(approximators, reason)]
                continue
            found = _split_rows(
                embedded, embeddings, probes, split, approximators=approximators, device=device
            )
            rows += [keys | row for row in found]
    return rows


def _split_rows(
    embedded: EmbeddedScenes,
    embeddings: NDArray[np.float32],
    probes: SceneProbes,
    split: ObjectSplit,
    *,
    approximators: Sequence[Approximator],
    device: torch.device | str,
) -> Iterator[dict[str, Any]]:
    """Rows of one split."""
    space, scenes, seed = embedded.space, embedded.scenes, split.seed
    parts = split.parts(scenes)
    fitted = _drawn(np.flatnonzero(parts == int(Part.train)), FITTED, seed)
    if not _shows_all(space, scenes[fitted]):
        yield from _refused(approximators, "fitted scenes do not show every value in every slot")
        return
    asked = []
    for part in Part:
        rows = _drawn(np.flatnonzero(parts == int(part)), ASKED, seed)
        blank = _Asked(part, space, scenes[rows], embeddings[rows], split.unseen)
        asked.append(replace(blank, ceilings=tuple(_told(blank, blank.true, probes))))
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
            told = _told(question, expected, probes)
            for score, ceiling in zip(told, question.ceilings, strict=True):
                yield _keys(approximator) | _row(question.part, score, ceiling.found.value)


def _told(asked: _Asked, shown: NDArray[np.float32], probes: SceneProbes) -> Iterator[Told]:
    """All scores of embeddings `shown` [n, d] of the scenes."""
    space, scenes = asked.space, asked.scenes
    banks = {"full": None, "held_out": asked.bank}
    named = list(banks) if asked.part is Part.unseen else ["full"]
    if not len(scenes):
        none = missing("there are no scenes of this part")
        yield from (Told("concept", None, none), *(Told("object", bank, none) for bank in named))
        yield Told("r2", None, none)
        return
    centred = shown - probes.centre
    yield Told("concept", None, concept_share(space, scenes, centred, probes.concepts))
    scores = centred @ probes.objects.T
    for bank in named:
        found, best = object_share(space, scenes, scores, banks[bank])
        yield Told("object", bank, found, best)
    r2 = explained(asked.true, shown, families(space, scenes), seed=0)
    yield Told("r2", None, r2)


def _keys(approximator: Approximator) -> dict[str, Any]:
    return {"class": approximator.kind, "width": approximator.width}


def _row(part: Part, told: Told, ceiling: float | None) -> dict[str, Any]:
    keys = {"part": part.name, "bank": told.bank, "kind": told.kind}
    return told.found.row(**keys) | {"ceiling": ceiling, "bag_best": told.bag_best}


def _refused(approximators: Sequence[Approximator], reason: str) -> Iterator[dict[str, Any]]:
    """Rows without values: of unseen objects, which is what would have been asked."""
    for approximator in approximators:
        for kind, bank in (("concept", None), ("object", "full"), ("object", "held_out")):
            told = Told(kind, bank, missing(reason))
            yield _keys(approximator) | _row(Part.unseen, told, None)


def _shows_all(space: ConceptSpace, scenes: Objects) -> bool:
    """Whether every slot of scenes [n, m] shows every value of every concept."""
    values = space.table[scenes]
    return all(
        len(np.unique(values[:, slot, k])) == size
        for slot in range(scenes.shape[1])
        for k, size in enumerate(space.sizes)
    )


def _drawn(rows: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """At most so many of the rows."""
    return np.random.default_rng(seed).permutation(rows)[:most]
