"""The two controlled models: a scene encoder and a query encoder, and the loss of a batch.

A batch is a list of scenes [n, m] by number of objects m, so that no sequence needs padding.

Legend: n scenes, m objects of a scene, d dimensions of the joint space, q queries.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from analysis.binding.controlled.condition import Condition
from analysis.binding.controlled.drawing import check_sizes, draw
from analysis.binding.controlled.encoders import PictureEncoder, Shape, TokenEncoder, initialise
from analysis.binding.controlled.losses import multi_positive, swap_margin, symmetric
from analysis.binding.controlled.world import World
from gen.scenes.space import Objects
from gen.scenes.swaps import swapped
from gen.scenes.tokens import concept_tokens, scene_tokens, vocabulary_size
from gen.schema.binding import ControlledTraining, Variant

FIRST_SCALE = {Variant.symbols: 1.15, Variant.pictures: 2.66}
"""logarithm of the first factor of cosines: Uselis et al. 2026; CLIP"""
LARGEST_SCALE = {Variant.symbols: 10.0, Variant.pictures: 100.0}
OBJECTS_IN_SCENE = 2


class ControlledModel(nn.Module):
    """What both variants share: encoders of one joint space, and a learned scale of cosines.

    Args:
        condition: of the training.
        world: of its scenes.
        scenes: encoder of what the variant shows of a scene.
    """

    def __init__(self, condition: Condition, world: World, scenes: nn.Module) -> None:
        super().__init__()
        self.condition, self.world = condition, world
        self.scenes, self.queries = scenes, token_encoder(condition, world)
        self.log_scale = nn.Parameter(torch.tensor(FIRST_SCALE[condition.variant]))

    @property
    def scale(self) -> Tensor:
        return self.log_scale.exp().clamp(max=LARGEST_SCALE[self.condition.variant])

    @property
    def device(self) -> torch.device:
        return self.log_scale.device

    def embedded(self, scenes: Objects, random: np.random.Generator) -> Tensor:
        """[n, d] embeddings of scenes [n, m], of which pictures are drawn with `random`."""
        raise NotImplementedError

    def captions(self, scenes: Objects) -> Tensor:
        """[n, d] embeddings of the query that names the objects of scenes [n, m] in order."""
        return self.queries(self._moved(scene_tokens(self.world.space, scenes)))

    def described(self, scenes: Objects) -> Tensor:
        """[n, d] embeddings of length 1 of what scenes [n, m] are compared with as a whole."""
        raise NotImplementedError

    def loss(self, batch: list[Objects], random: np.random.Generator) -> dict[str, Tensor]:
        """Terms of the loss of a batch; what is minimised is their sum."""
        raise NotImplementedError

    def _moved(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)


class SymbolModel(ControlledModel):
    """Scenes are tokens; queries are single concept values and single objects."""

    def __init__(self, condition: Condition, world: World) -> None:
        super().__init__(condition, world, token_encoder(condition, world))

    def embedded(self, scenes: Objects, random: np.random.Generator) -> Tensor:
        return self.scenes(self._moved(scene_tokens(self.world.space, scenes)))

    def described(self, scenes: Objects) -> Tensor:
        """The sum of the queries of a scene's objects, of which each is a query of its own."""
        slots = [self.captions(scenes[:, [slot]]) for slot in range(scenes.shape[1])]
        return normalize(torch.stack(slots).sum(dim=0), dim=-1)

    def concepts(self) -> Tensor:
        """[values, d] embeddings of all concept values, concept after concept."""
        return self.queries(self._moved(concept_tokens(self.world.space)))

    def loss(self, batch: list[Objects], random: np.random.Generator) -> dict[str, Tensor]:
        space, training = self.world.space, self.condition.training
        embedded = torch.cat([self.embedded(scenes, random) for scenes in batch]) * self.scale
        concept_logits = embedded @ self.concepts().T
        values = [_presence(_value_ids(self.world, scenes), sum(space.sizes)) for scenes in batch]
        pairs = [scenes for scenes in batch if scenes.shape[1] > 1]
        rebound = [_rebound(self.world, scenes, random) for scenes in pairs]
        bank = self._bank([*batch, *rebound], random)
        logits = embedded @ self.captions(bank[:, None]).T
        places = [np.searchsorted(bank, scenes) for scenes in batch]
        present = [_presence(place, len(bank)) for place in places]
        terms = {
            "concepts": training.concept_weight
            * multi_positive(concept_logits, self._moved(np.concatenate(values))),
            "objects": multi_positive(logits, self._moved(np.concatenate(present))),
        }
        if pairs and training.swap_weight:
            margin = self._swap_margin(logits[: len(pairs[0])], pairs[0], rebound[0], bank)
            terms["swaps"] = training.swap_weight * margin
        return terms

    def _bank(self, groups: list[Objects], random: np.random.Generator) -> Objects:
        """Numbers of the objects that are queries of a step, in order.

        Those of the batch and of its swaps as far as training may show them: no unseen object is
        told to be absent. The leak lets those of swaps in, and as many others as are in the bank.
        """
        split = self.world.split
        named = np.unique(np.concatenate([group.ravel() for group in groups]))
        if not self.condition.training.leak:
            return named[split.seen[named]]
        others = random.permutation(split.unseen)[: len(named)]
        return np.union1d(named, others)

    def _swap_margin(
        self, logits: Tensor, scenes: Objects, rebound: Objects, bank: Objects
    ) -> Tensor:
        """The margin between the objects of scenes [n, 2] and those of their swaps."""
        place = np.searchsorted(bank, rebound).clip(max=len(bank) - 1)
        present = logits.gather(1, self._moved(np.searchsorted(bank, scenes)))
        return swap_margin(
            present, logits.gather(1, self._moved(place)), self._moved(bank[place] == rebound)
        )


class PictureModel(ControlledModel):
    """Scenes are drawn anew at every look; queries are captions."""

    def __init__(self, condition: Condition, world: World) -> None:
        check_sizes(condition.sizes)
        super().__init__(condition, world, PictureEncoder(shape_of(condition.training)))

    def embedded(self, scenes: Objects, random: np.random.Generator) -> Tensor:
        return self.scenes(self._moved(draw(self.world.space, scenes, random)))

    def described(self, scenes: Objects) -> Tensor:
        """Its caption."""
        return self.captions(scenes)

    def loss(self, batch: list[Objects], random: np.random.Generator) -> dict[str, Tensor]:
        pictures = torch.cat([self.embedded(scenes, random) for scenes in batch])
        told = [self._named(scenes, random) for scenes in batch]
        captions = torch.cat([self.captions(scenes) for scenes in told])
        ordered = self.condition.training.ordered_captions
        keys = [_scene_keys(self.world, scenes, ordered=ordered) for scenes in batch]
        key = np.concatenate(keys)
        same = self._moved(key[:, None] == key)
        return {"captions": symmetric(self.scale * pictures @ captions.T, same)}

    def _named(self, scenes: Objects, random: np.random.Generator) -> Objects:
        """Objects of scenes [n, m] in the order in which their captions name them."""
        if self.condition.training.ordered_captions:
            return scenes
        return random.permuted(scenes, axis=1)


def model_of(condition: Condition, world: World) -> ControlledModel:
    """The untrained model of a condition, on the processor.

    Raises:
        UserError: pictures cannot show the concepts.
    """
    kinds = {Variant.symbols: SymbolModel, Variant.pictures: PictureModel}
    model = kinds[condition.variant](condition, world)
    initialise(model, condition.seed)
    return model


def token_encoder(condition: Condition, world: World) -> TokenEncoder:
    """An encoder of scenes or queries of a condition's world."""
    longest = scene_tokens(world.space, np.zeros((1, OBJECTS_IN_SCENE), np.int64)).shape[1]
    return TokenEncoder(vocabulary_size(world.space), shape_of(condition.training), longest)


def shape_of(training: ControlledTraining) -> Shape:
    """Size of both encoders."""
    return Shape(training.width, training.layers, training.heads, training.dimensions)


def _rebound(world: World, scenes: Objects, random: np.random.Generator) -> Objects:
    """[n, 2] objects of the scenes' swaps in one concept, the same for the batch."""
    return swapped(world.space, scenes, int(random.integers(len(world.space.sizes))))


def _value_ids(world: World, scenes: Objects) -> Objects:
    """[n, m K] numbers of the concept values of scenes, counted over all concepts."""
    offsets = np.cumsum([0, *world.space.sizes[:-1]])
    return (world.space.table[scenes] + offsets).reshape(len(scenes), -1)


def _presence(items: Objects, count: int) -> NDArray[np.bool_]:
    """[n, count] which items are in each row of [n, m]."""
    present = np.zeros((len(items), count), dtype=bool)
    np.put_along_axis(present, items, True, axis=1)
    return present


def _scene_keys(world: World, scenes: Objects, *, ordered: bool) -> Objects:
    """[n] a number for every scene of one or two objects; if not ordered, one for both orders."""
    told = scenes if ordered else np.sort(scenes, axis=1)
    first = told[:, 0] + 1
    if told.shape[1] < OBJECTS_IN_SCENE:
        return first
    return first + (world.space.objects + 1) * (told[:, 1] + 1)
