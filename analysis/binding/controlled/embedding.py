"""A trained controlled model's embeddings of its test scenes, for every analysis of binding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.binding.controlled.models import ControlledModel, SymbolModel
from analysis.binding.controlled.world import exam_scenes
from analysis.binding.embedded import EmbeddedScenes
from gen.randomness import generator
from gen.scenes.space import Objects, single_scenes
from gen.scenes.swaps import swapped

CHUNK = 512
"""scenes that are embedded at once"""
MOST_SCENES = 1500
"""of a familiarity that are sampled plainly, and of those whose swap is matched"""

Embeddings = NDArray[np.float32]


@dataclass(frozen=True)
class Examined:
    """What scores are computed from.

    Attributes:
        embedded: the scenes; of symbols, `texts` are the sums of the queries of their objects.
        is_plain: [n] whether a scene belongs to the plain sample; the others are there for their
            matched swaps.
        familiarity: [n] `Familiarity` of the scenes.
        concepts: [values, d] queries of all concept values; [0, d] where there are none.
    """

    embedded: EmbeddedScenes
    is_plain: NDArray[np.bool_]
    familiarity: NDArray[np.int64]
    concepts: Embeddings


def examined(model: ControlledModel, most: int = MOST_SCENES) -> Examined:
    """Embed test scenes of every familiarity.

    Scenes of one object, and captions of one, are embedded only where training showed such: else
    they say what a model makes of a form that it never saw.
    """
    world, condition = model.world, model.condition
    random = generator("binding", "pictures", condition.seed, condition.split_seed)
    scenes, is_plain = exam_scenes(world, most, condition.split_seed)
    nothing = np.empty((0, condition.training.dimensions), dtype=np.float32)
    singles = single_scenes(world.space)
    shows_singles = condition.training.single_share > 0
    names_objects = shows_singles or isinstance(model, SymbolModel)
    embedded = EmbeddedScenes(
        space=world.space,
        split=world.split,
        scenes=scenes,
        images=_embedded(lambda part: model.embedded(part, random), scenes),
        texts=_embedded(model.described, scenes),
        swaps=_embedded(model.described, swapped(world.space, scenes, 0)),
        single_images=_embedded(lambda part: model.embedded(part, random), singles)
        if shows_singles
        else nothing,
        single_texts=_embedded(model.described, singles) if names_objects else nothing,
    )
    with torch.no_grad():
        concepts = model.concepts().cpu().numpy() if isinstance(model, SymbolModel) else nothing
    return Examined(embedded, is_plain, world.familiarity(scenes), concepts)


def _embedded(encode: Callable[[Objects], Tensor], scenes: Objects) -> Embeddings:
    """[n, d] what an encoder makes of scenes, chunk by chunk."""
    with torch.no_grad():
        parts = [encode(part).float().cpu().numpy() for part in _chunks(scenes)]
    return np.concatenate(parts)


def _chunks(scenes: Objects) -> Iterator[Objects]:
    for start in range(0, len(scenes), CHUNK):
        yield scenes[start : start + CHUNK]
