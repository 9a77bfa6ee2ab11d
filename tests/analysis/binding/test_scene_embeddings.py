"""The rows of embedded scenes are those of the dataset's images and of its own captions."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from tiny_scenes import WIDTH, of_length_one, projections, scenes_dataset

from analysis.binding import scene_embeddings
from analysis.binding.scene_embeddings import embed_scenes, sizes_of
from gen.datasets.scenes.stored import scenes_of, stored_scenes, stored_world
from gen.datasets.shards import read_images
from gen.evaluation.embed import embed_images, embed_texts
from gen.scenes.wording import scene_caption
from splits.errors import UserError

CPU = torch.device("cpu")


def embedded(dataset, objects, bar=None, *, trained_here=True):
    bar = bar or SimpleNamespace(update=lambda _: None)
    return embed_scenes(projections(), dataset, objects, CPU, bar, trained_here=trained_here)


def images_of(dataset, rows):
    """Embeddings of the images of some scenes, read one by one."""
    parts = [
        embed_images(
            projections(), read_images(dataset.folder, dataset.samples.filter(id=name), 36), CPU
        )
        for name in rows["id"]
    ]
    return torch.cat(parts).numpy()


def texts_of(texts):
    return torch.cat([embed_texts(projections(), [text], CPU) for text in texts]).numpy()


@pytest.mark.parametrize(("objects", "count"), [(2, 24), (3, 12)])
def test_every_row_is_a_scene_with_its_own_image_caption_and_swapped_caption(
    dataset, objects, count
):
    table = stored_scenes(dataset)
    rows = table.filter(pl.col("split") != "train", pl.col("objects").list.len() == objects)
    found = embedded(dataset, objects)
    assert found.scenes.shape == (count, objects)
    assert np.array_equal(found.scenes, scenes_of(rows))
    np.testing.assert_allclose(found.images, images_of(dataset, rows), atol=1e-5)
    np.testing.assert_allclose(found.texts, texts_of(rows["caption"]), atol=1e-5)
    np.testing.assert_allclose(found.swaps, texts_of(rows["swapped_caption"]), atol=1e-5)
    assert len(np.unique(found.images, axis=0)) == count


def test_single_objects_are_means_of_their_images_of_length_one_in_the_order_of_the_space(dataset):
    space, _ = stored_world(dataset)
    found = embedded(dataset, 2)
    alone = stored_scenes(dataset).filter(split="test")
    shown, images = scenes_of(alone)[:, 0], images_of(dataset, alone)
    means = [images[shown == number].mean(axis=0) for number in range(space.objects)]
    assert max(np.bincount(shown)) > 1
    np.testing.assert_allclose(found.single_images, of_length_one(np.array(means)), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found.single_images, axis=1), 1, atol=1e-5)
    captions = [scene_caption(space, [number]) for number in range(space.objects)]
    np.testing.assert_allclose(found.single_texts, texts_of(captions), atol=1e-5)


def test_a_caption_that_stands_several_times_has_its_own_embedding_every_time():
    texts = ["a red apple", "a blue key", "a red apple", "a blue car", "a blue key"]
    found = scene_embeddings._texts(projections(), texts, CPU)
    np.testing.assert_allclose(found, texts_of(texts), atol=1e-6)
    assert len(np.unique(found, axis=0)) == 3


def test_scenes_have_parts_only_where_the_model_was_trained_on_their_objects(dataset):
    _, split = stored_world(dataset)
    assert (embedded(dataset, 2).split.seen == split.seen).all()
    assert embedded(dataset, 2, trained_here=False).split is None


def test_every_number_of_objects_is_told_and_every_image_that_is_read_is_counted(dataset):
    read: list[int] = []
    assert sizes_of(dataset) == [2, 3]
    for size in sizes_of(dataset):
        embedded(dataset, size, SimpleNamespace(update=read.append))
    count = scene_embeddings.tested_images  # by its own name it would be collected as a test
    assert sum(read) == count(dataset, [2, 3]) == 24 + 12 + 2 * 44
    assert count(dataset, [3]) == 12 + 44


def test_single_objects_are_left_out_where_not_all_of_them_are_shown(tmp_path):
    found = embedded(scenes_dataset(tmp_path, "[4, 6]"), 2)
    assert found.single_images.shape == (0, WIDTH)
    assert found.single_texts.shape == (36, WIDTH)


def test_a_dataset_whose_test_scenes_have_one_object_is_refused(tmp_path):
    with pytest.raises(UserError, match="nothing to bind") as caught:
        sizes_of(scenes_dataset(tmp_path, "[4]"))
    assert caught.value.where == "dataset tiny"
