"""Scores of one controlled model: does it know the concepts, and does it bind them?

For every familiarity of scenes apart:

    replaced   a scene against the description in which one value is another: concepts suffice
    swap       against that of its attribute swap, matched: a bag of concepts is right half the time
    concept    every value in the scene outscores every other one, mean over concepts
    object     every object in the scene outscores every other one of a bank: all objects (`full`),
               or those that are seen, or unseen, as the scene's own are (`alike`)
    attribute  a linear probe for every value of the last concept, fitted on other families of
               scenes, tells which value of the first one its object has, in scenes whose swap is
               asked as well: does the scene encoder bind by itself?

Intervals are over scenes, drawn by bags of concepts; other seeds and other draws of objects are
other conditions. The floor is what a bag of concepts reaches.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from analysis.binding.attribute_probes import attribute_answers, attribute_share
from analysis.binding.controlled.embedding import Examined
from analysis.binding.controlled.world import Familiarity
from analysis.binding.embedded import EmbeddedScenes
from analysis.binding.object_probes import (
    askable,
    bag_floor,
    chance,
    concept_presence,
    object_presence,
    recognised,
)
from analysis.binding.rebindings import families
from analysis.binding.shares import Share, missing, share
from analysis.binding.swap_retrieval import balanced, replaced_accuracy, swap_accuracy

CHUNK = 256
"""scenes whose scores of all objects are held at once"""
NO_CONCEPTS = "its queries are captions of scenes: there are none of concepts"
NO_OBJECTS = "its training had no captions of one object (single_share is 0)"
NO_SCENES = "no such scenes"
NO_BALANCED = "no such scenes whose swap is asked as well"
MIXED = "scenes of train and of unseen objects are not alike among themselves"


def score_rows(
    found: Examined, *, seed: int = 0, device: torch.device | str = "cpu"
) -> list[dict[str, Any]]:
    """All scores: rows of `Share` with `familiarity`, `score` and `bank`.

    Args:
        found: the model's embeddings.
        seed: draws the values that are replaced, and the scenes that probes are fitted on.
        device: on which to fit probes.
    """
    rows = []
    for kind in Familiarity:
        here = found.familiarity == kind
        everything = found.embedded.rows(np.flatnonzero(here))
        plain = found.embedded.rows(np.flatnonzero(here & found.is_plain))
        scored = {
            ("replaced", "pair"): replaced(plain, kind, seed=seed),
            ("swap", "pair"): missing(MIXED)
            if kind is Familiarity.mixed
            else swap_accuracy(everything),
            ("concept", "full"): concept_recognition(plain, found.concepts),
            ("object", "full"): object_recognition(plain, np.arange(plain.space.objects)),
            ("object", "alike"): object_recognition(plain, _alike(plain, kind)),
        }
        for (score, bank), value in scored.items():
            rows.append(value.row(familiarity=kind.name, score=score, bank=bank))
    return rows + attribute_rows(found, seed=seed, device=device)


def attribute_rows(
    found: Examined, *, seed: int, device: torch.device | str = "cpu"
) -> list[dict[str, Any]]:
    """Attributes that probes read off embeddings of scenes, of every familiarity.

    Args:
        found: the model's embeddings.
        seed: of the division into fitted and asked families, and of the probes.
        device: on which to fit.
    """
    embedded = found.embedded
    space, scenes = embedded.space, embedded.scenes
    right = attribute_answers(space, scenes, embedded.images, seed=seed, device=device)
    asked = np.flatnonzero(~np.isnan(right).all(axis=1))
    rows = []
    for kind in Familiarity:
        here = asked[found.familiarity[asked] == kind]
        here = here[balanced(embedded, here)]
        reason = MIXED if kind is Familiarity.mixed else NO_BALANCED
        value = attribute_share(embedded, right, here) if len(here) else missing(reason)
        rows.append(value.row(familiarity=kind.name, score="attribute", bank="values"))
    return rows


def replaced(embedded: EmbeddedScenes, kind: Familiarity, *, seed: int) -> Share:
    """Against the description of another scene of the sample that differs in one value."""
    return missing(MIXED) if kind is Familiarity.mixed else replaced_accuracy(embedded, seed=seed)


def concept_recognition(embedded: EmbeddedScenes, concepts: NDArray[np.float32]) -> Share:
    """How often every value of a concept that is in a scene outscores every other, per concept.

    Args:
        embedded: the scenes.
        concepts: [values, d] queries of all values, concept after concept.
    """
    if not len(concepts):
        return missing(NO_CONCEPTS)
    if not len(embedded.scenes):
        return missing(NO_SCENES)
    scores = embedded.images @ concepts.T
    ends = np.cumsum(embedded.space.sizes)[:-1]
    right, guessed = [], []
    presence = concept_presence(embedded.space, embedded.scenes)
    for columns, present in zip(np.split(scores, ends, axis=1), presence, strict=True):
        is_askable = askable(present)
        answers = np.full(len(present), np.nan)
        answers[is_askable] = recognised(columns[is_askable], present[is_askable])
        right.append(answers)
        guessed.append(chance(present))
    answers = np.stack(right)
    kept = ~np.isnan(answers).any(axis=0)
    clusters = families(embedded.space, embedded.scenes[kept])
    return share(
        answers[:, kept].mean(axis=0),
        clusters,
        floor=1.0,
        chance=np.mean(guessed, axis=0)[kept],
        reason="every scene holds every value of a concept",
    )


def object_recognition(embedded: EmbeddedScenes, bank: NDArray[np.int64]) -> Share:
    """How often every object of a scene outscores every other object of a bank.

    Args:
        embedded: the scenes.
        bank: numbers of the objects that are ranked, those of the scenes among them; of length 0
            where the scenes have no bank.
    """
    if not len(embedded.single_texts):
        return missing(NO_OBJECTS)
    if not len(embedded.scenes):
        return missing(NO_SCENES)
    if not len(bank):
        return missing(MIXED)
    space, queries = embedded.space, embedded.single_texts[bank].T
    kept, right, floor, guessed = [], [], [], []
    for start in range(0, len(embedded.scenes), CHUNK):
        scenes = embedded.scenes[start : start + CHUNK]
        present = object_presence(space, scenes)[:, bank]
        chosen = askable(present)
        scores = embedded.images[start : start + CHUNK] @ queries
        kept.append(chosen)
        right.append(recognised(scores[chosen], present[chosen]))
        floor.append(bag_floor(space, scenes[chosen], bank))
        guessed.append(chance(present[chosen]))
    return share(
        np.concatenate(right),
        families(space, embedded.scenes[np.concatenate(kept)]),
        floor=np.concatenate(floor),
        chance=np.concatenate(guessed),
        reason="the scenes hold every object of the bank",
    )


def _alike(embedded: EmbeddedScenes, kind: Familiarity) -> NDArray[np.int64]:
    """Objects that are seen, or unseen, as those of the scenes; none for mixed scenes."""
    split = embedded.split
    if split is None or kind is Familiarity.mixed:
        return np.empty(0, dtype=np.int64)
    return split.unseen if kind is Familiarity.unseen else split.train
