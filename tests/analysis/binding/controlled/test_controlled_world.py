"""Which scenes training draws, and which it never does."""

import numpy as np
import pytest

from analysis.binding.controlled.condition import Condition
from analysis.binding.controlled.drawing import BACKGROUND, draw
from analysis.binding.controlled.world import (
    Familiarity,
    World,
    bags,
    exam_scenes,
    has_matched_swap,
    training_scenes,
    world_of,
)
from gen.scenes.coverage import ObjectSplit
from gen.scenes.space import ConceptSpace, pair_scenes
from gen.scenes.swaps import swapped
from gen.schema import ControlledTraining, Variant
from splits.errors import UserError


def condition(coverage: float = 0.6, swap_share: float = 0.0, singles: float = 0.0) -> Condition:
    training = ControlledTraining(batch=32, single_share=singles)
    return Condition(Variant.pictures, (8, 6), coverage, swap_share, 0, 0, training)


def test_training_shows_scenes_of_train_objects_that_are_not_kept_out() -> None:
    one = condition(swap_share=0.5, singles=0.25)
    world = world_of(one)
    batches = training_scenes(world, one)
    for _ in range(60):
        pairs, singles = next(batches)
        assert (pairs.shape, singles.shape) == ((24, 2), (8, 1))
        assert (world.familiarity(pairs) == Familiarity.trained).all()
        assert world.split.seen[singles].all()


def test_half_a_batch_in_swapped_pairs_is_scenes_each_followed_by_its_swap() -> None:
    one = condition(swap_share=0.5)
    world = world_of(one)
    (scenes,) = next(training_scenes(world, one))
    firsts, others = scenes[:16:2], scenes[1:16:2]
    by_concept = [(swapped(world.space, firsts, k) == others).all(axis=1) for k in (0, 1)]
    assert (by_concept[0] | by_concept[1]).all()


def test_scenes_are_kept_out_with_their_reversals_and_swaps() -> None:
    world = world_of(condition())
    scenes = pair_scenes(world.space)
    out = world.is_kept_out(scenes)
    assert 0.05 < out.mean() < 0.15
    assert (out == world.is_kept_out(scenes[:, ::-1])).all()
    assert (out == world.is_kept_out(swapped(world.space, scenes, 0))).all()


def test_bags_are_equal_exactly_where_the_concepts_are() -> None:
    world = world_of(condition())
    scenes = pair_scenes(world.space)
    values = np.sort(world.space.table[scenes], axis=1).reshape(len(scenes), -1)
    assert len(np.unique(bags(world.space, scenes))) == len(np.unique(values, axis=0))


def test_exam_scenes_are_all_matched_ones_beside_a_plain_sample() -> None:
    world = world_of(condition())
    scenes, is_plain = exam_scenes(world, 40, seed=0)
    plain = np.bincount(world.familiarity(scenes[is_plain]))
    assert plain.tolist() == [40, 40, 40, 40]
    unseen = world.familiarity(scenes) == Familiarity.unseen
    matched = has_matched_swap(world, scenes)
    everything = pair_scenes(world.space)
    there = world.familiarity(everything) == Familiarity.unseen
    assert (matched & unseen).sum() == (has_matched_swap(world, everything) & there).sum() > 4
    assert (matched | is_plain).all()


def test_a_world_without_swapped_pairs_says_so() -> None:
    space = world_of(condition()).space
    seen = np.isin(np.arange(space.objects), space.numbers(np.stack([np.arange(6)] * 2, axis=1)))
    world = World(space, ObjectSplit(seen, seen.mean(), 0))  # a diagonal: every swap is unseen
    with pytest.raises(UserError, match="whose swap"):
        next(training_scenes(world, condition(swap_share=0.5)))


def test_objects_are_painted_left_and_right_in_their_colours() -> None:
    space = ConceptSpace({"colour": ("a", "b", "c"), "shape": ("x", "y")})
    scenes = np.array([[0, 5], [5, 0]])
    pictures = draw(space, scenes, np.random.default_rng(0))
    assert pictures.shape == (2, 3, 32, 32)
    painted = (abs(pictures - (2 * BACKGROUND - 1)) > 1e-3).any(axis=1)
    assert painted[:, :, :16].any(axis=(1, 2)).all()
    assert painted[:, :, 16:].any(axis=(1, 2)).all()
    halves = [
        np.abs(pictures[n, :, :, half]).reshape(3, -1)
        for n in (0, 1)
        for half in (slice(0, 16), slice(16, 32))
    ]
    colours = [half[:, half.sum(axis=0).argmax()] for half in halves]
    np.testing.assert_allclose(colours[0], colours[3], atol=1e-6)
    assert not np.allclose(colours[0], colours[1], atol=1e-2)
