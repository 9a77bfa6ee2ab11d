from dataclasses import replace

import numpy as np
import pytest

from analysis.binding.embedded import EmbeddedScenes
from analysis.binding.planted import PLANTED, memorised, plant, planted_scenes, planted_space
from gen.scenes.coverage import Part, split_objects
from gen.scenes.space import pair_scenes

SPACE = planted_space(4)
SPLIT = split_objects(SPACE, 0.5, seed=0)


def test_parts_divide_the_scenes_and_keep_single_objects():
    embedded = plant(memorised, SPACE, SPLIT, pair_scenes(SPACE), seed=0)
    parts = [embedded.of(part) for part in Part]
    assert sum(len(part.scenes) for part in parts) == len(embedded.scenes)
    assert SPLIT.seen[parts[0].scenes].all()
    assert not SPLIT.seen[parts[1].scenes].any()
    assert all(len(part.single_texts) == SPACE.objects for part in parts)


def test_scenes_have_no_parts_where_the_training_is_not_known():
    embedded = plant(memorised, SPACE, None, pair_scenes(SPACE), seed=0)
    with pytest.raises(ValueError, match="not known"):
        embedded.of(Part.train)


@pytest.mark.parametrize(
    "wrong", ["scenes", "images", "texts", "swaps", "single_images", "single_texts"]
)
def test_wrong_shapes_are_errors(wrong):
    shapes = {"scenes": (5, 2), "images": (5, 3), "texts": (5, 3), "swaps": (5, 3)}
    shapes |= {"single_images": (16, 3), "single_texts": (16, 3)}
    shapes[wrong] = (4,) if wrong == "scenes" else (4, 3)
    arrays = {name: np.zeros(shape, dtype=np.float32) for name, shape in shapes.items()}
    with pytest.raises(ValueError, match="shape"):
        EmbeddedScenes(SPACE, None, **arrays | {"scenes": arrays["scenes"].astype(int)})


def test_what_is_not_there_is_an_empty_array():
    full, none = np.zeros((5, 3), dtype=np.float32), np.zeros((0, 3), dtype=np.float32)
    scenes = np.zeros((5, 2), dtype=int)
    part = EmbeddedScenes(SPACE, None, scenes, full, none, none, none, none).rows([1, 3])
    assert part.images.shape == (2, 3)
    assert part.texts.shape == (0, 3)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_encoder_is_the_same_for_the_same_seed_and_has_length_one(name):
    scenes = planted_scenes(SPACE, SPLIT, seed=0)
    one, again, other = (plant(PLANTED[name], SPACE, SPLIT, scenes, seed=s) for s in (3, 3, 4))
    assert np.array_equal(one.images, again.images)
    assert not np.allclose(one.images, other.images)
    assert np.allclose(np.linalg.norm(one.images, axis=1), 1, atol=1e-6)
    assert np.allclose(one.images, one.texts)


def test_noise_is_that_of_every_side_alone():
    scenes = planted_scenes(SPACE, SPLIT, seed=0)
    embedded = plant(memorised, SPACE, SPLIT, scenes, seed=0, noise=0.5)
    assert np.abs(embedded.images - embedded.texts).max() > 0.05


def test_planted_scenes_are_whole_families_of_every_part():
    space = planted_space(6)
    split = split_objects(space, 0.6, seed=0)
    scenes = planted_scenes(space, split, seed=0, most=100)
    counts = np.bincount(split.parts(scenes), minlength=3)
    assert (counts > 80).all()
    assert (counts <= 100).all()
    assert {(a, b) for a, b in scenes.tolist()} == {(b, a) for a, b in scenes.tolist()}


def test_embeddings_of_a_model_that_diverged_are_refused():
    embedded = plant(memorised, SPACE, None, pair_scenes(SPACE), seed=0)
    broken = embedded.texts.copy()
    broken[1, 0] = np.nan
    with pytest.raises(ValueError, match="texts have embeddings that are not finite"):
        replace(embedded, texts=broken)
