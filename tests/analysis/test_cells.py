"""Activations are averaged over the images of a cell, in folds, and none of them is kept."""

from __future__ import annotations

import weakref
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from analysis.cells import CellMeans, CellSums, cell_means, dealt
from analysis.sites import list_sites, pool, taps
from gen.models.clip import normalise
from gen.models.trained import Learner
from gen.schema import SiteLevel
from splits.errors import UserError

DOMAINS, CLASSES = ("sketch", "real"), ("cat", "dog", "fox")
LEVELS = (SiteLevel.residual, SiteLevel.head, SiteLevel.neuron)
CPU = torch.device("cpu")
PIXELS, PATCH, WIDTH = 8, 4, 6


class Block(nn.Module):
    """A transformer's block as far as sites know it; its dropout shows in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.Sequential()
        self.attn.num_heads, self.attn.proj = 2, nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential()
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(WIDTH, 5), nn.Linear(5, WIDTH)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        x = x + self.attn.proj(x.flip(1))
        return self.drop(x + self.mlp.fc2(self.mlp.fc1(x).relu()))


class Tower(nn.Module):
    """As little of timm's ViT as matters here."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, stride=PATCH)
        self.norm_pre = nn.Identity()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, images):
        x = self.norm_pre(self.patches(images).flatten(2).transpose(1, 2))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(dim=1))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.visual = Tower()

    def encode_image(self, images):
        return self.visual(images)


def samples(per_cell):
    """Shuffled rows of a sample table, and random images."""
    rng = np.random.default_rng(0)
    cells = [(d, i) for d in DOMAINS for i in range(len(CLASSES)) for _ in range(per_cell)]
    order = rng.permutation(len(cells))
    table = pl.DataFrame([cells[i] for i in order], ["domain", "class_id"], orient="row")
    pixels = rng.integers(256, size=(len(cells), 3, PIXELS, PIXELS), dtype=np.uint8)
    return table, torch.from_numpy(pixels)


def means_of(per_cell, batch=5, levels=LEVELS, model=None):
    table, images = samples(per_cell)
    learner = Learner(model or Model(), None)
    return cell_means(learner, images.split(batch), table, DOMAINS, CLASSES, CPU, levels)


def planted(images=7, classes=CLASSES):
    """Random fold means of cells, of which one has two images fewer."""
    counts = np.full((4, len(DOMAINS), len(classes)), images // 4)
    counts[: images % 4] += 1
    counts[:2, 0, 0] -= 1
    values = np.random.default_rng(1).normal(size=(*counts.shape, 5))
    return CellMeans({"stem": values, "embedding": 2 * values[..., :3]}, counts, DOMAINS, classes)


@pytest.mark.parametrize(("per_cell", "folds"), [(3, 2), (4, 4), (9, 4)])
def test_streamed_means_are_those_computed_at_once(per_cell, folds):
    found, model = means_of(per_cell), Model().eval()
    table, images = samples(per_cell)
    sites = [site for level in LEVELS for site in list_sites(model, level)]
    whole: dict[str, np.ndarray] = {}
    with (
        torch.inference_mode(),
        taps(sites, lambda name, read: whole.__setitem__(name, pool(read).double().numpy())),
    ):
        model.encode_image(normalise(images))
    assert list(found.folds) == [site.name for site in sites]
    assert found.counts.shape == (folds, len(DOMAINS), len(CLASSES))
    for site, activations in whole.items():
        for d, domain in enumerate(DOMAINS):
            for c in range(len(CLASSES)):
                mask = (pl.col("domain") == domain) & (pl.col("class_id") == c)
                cell = activations[table.with_row_index().filter(mask)["index"].to_numpy()]
                assert found.means(site)[d, c] == pytest.approx(cell.mean(axis=0), abs=1e-6)
                for fold in range(folds):  # dealt in turn, in the order of the table
                    expected = cell[fold::folds].mean(axis=0)
                    assert found.folds[site][fold, d, c] == pytest.approx(expected, abs=1e-6)
                    assert found.counts[fold, d, c] == len(cell[fold::folds])


def test_means_do_not_depend_on_the_batches():
    once, often = means_of(4, batch=100), means_of(4, batch=1)
    for site, values in once.folds.items():
        assert often.folds[site] == pytest.approx(values, abs=1e-6)


def test_a_model_in_training_is_read_as_it_is_tested():
    model = Model().train()
    assert means_of(4, model=model).means("block2") == pytest.approx(means_of(4).means("block2"))


@pytest.mark.gpu
def test_sums_on_a_gpu_are_those_on_the_processor():
    table, images = samples(9)
    learner, device = Learner(Model(), None), torch.device("cuda")
    found = cell_means(learner, images.split(5), table, DOMAINS, CLASSES, device, LEVELS)
    for site, values in means_of(9).folds.items():
        assert found.folds[site] == pytest.approx(values, abs=1e-5)


def test_what_is_kept_grows_with_the_cells_and_not_with_the_images():
    kept = {}
    for images in (12, 1200):
        buckets, sizes = dealt(np.arange(images) % 3, 3)
        sums = CellSums(buckets, sizes, CPU)
        for start in range(0, images, 6):
            activations = torch.full((6, 5), float(start))
            there = weakref.ref(activations)
            sums.add("stem", activations)
            del activations
            assert there() is None
        kept[images] = sum(values.numel() for values in sums._sums.values())
    assert kept == {12: 4 * 3 * 5, 1200: 4 * 3 * 5}


def test_sums_are_exact_where_those_in_float32_are_not():
    sums = CellSums(np.zeros(3, dtype=np.int64), np.array([3]), CPU)
    for value in (2.0**25, 1.0, 1.0):
        sums.add("stem", torch.tensor([[value]]))
    assert sums.means()["stem"].item() * 3 == 2**25 + 2


def test_folds_are_disjoint_complete_and_differ_by_one_at_most():
    cells = np.random.default_rng(0).permutation(np.repeat(np.arange(6), [4, 5, 6, 7, 8, 13]))
    buckets, sizes = dealt(cells, 6)
    assert (buckets % 6 == cells).all()  # every sample is in one fold of its own cell
    assert np.bincount(buckets).tolist() == sizes.tolist()
    assert sizes.reshape(4, 6).T.tolist() == [
        *([1, 1, 1, 1], [2, 1, 1, 1], [2, 2, 1, 1]),
        *([2, 2, 2, 1], [2, 2, 2, 2], [4, 3, 3, 3]),
    ]


def test_there_are_two_folds_where_one_cell_has_fewer_than_four_images():
    buckets, sizes = dealt(np.array([0, 1, 0, 0, 1, 0, 1]), 2)
    assert (buckets // 2).tolist() == [0, 0, 1, 0, 1, 1, 0]
    assert sizes.tolist() == [2, 2, 2, 1]


@pytest.mark.parametrize("cells", [[0, 0, 1], [0, 0]])
def test_a_cell_with_fewer_than_two_images_is_an_error(cells):
    with pytest.raises(ValueError, match="at least two images"):
        dealt(np.array(cells), 2)


def test_two_folds_make_one_pairing_and_four_make_three():
    assert means_of(2, levels=LEVELS[:1]).pairings() == [((0,), (1,))]
    pairings = planted().pairings()
    assert pairings == [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))]


def test_the_halves_of_every_pairing_make_the_means_of_all_images():
    cells = planted()
    assert len(cells.halves("stem")) == 3
    images = cells.counts.sum(axis=0)[..., None]
    for (a, b), (first, second) in zip(cells.halves("stem"), cells.pairings(), strict=True):
        ahead, after = (cells.counts[list(half)].sum(axis=0)[..., None] for half in (first, second))
        assert (ahead + after == images).all()
        assert (a * ahead + b * after) / images == pytest.approx(cells.means("stem"))
    plain = cells.folds["stem"].mean(axis=0)
    assert not np.allclose(plain[0, 0], cells.means("stem")[0, 0])  # folds count by their images


@pytest.mark.parametrize("chosen", [("fox", "cat"), (2, 0), np.array([2, 0])])
def test_some_classes_are_chosen_by_name_or_position_in_the_order_asked_for(chosen):
    cells = planted().of_classes(chosen)
    assert cells.classes == ("fox", "cat")
    assert cells.counts.tolist() == planted().counts[:, :, [2, 0]].tolist()
    for site in ("stem", "embedding"):
        assert (cells.means(site) == planted().means(site)[:, [2, 0]]).all()


@pytest.mark.parametrize("chosen", [("real",), [1]])
def test_some_domains_are_chosen_by_name_or_position(chosen):
    cells = planted().of_domains(chosen)
    assert (cells.domains, cells.classes) == (("real",), CLASSES)
    assert cells.counts.shape == (4, 1, 3)
    assert (cells.means("stem") == planted().means("stem")[[1]]).all()


def test_what_is_there_not_and_masks_are_no_choice():
    with pytest.raises(UserError, match="class `fx` is unknown"):
        planted().of_classes(["fx"])
    with pytest.raises(UserError, match="domain `cat` is unknown"):
        planted().of_domains(["cat"])
    with pytest.raises(TypeError):
        planted().of_classes(np.array([True, False, True]))


def test_rows_without_an_image_and_images_without_a_row_are_errors():
    table, images = samples(2)
    learner = Learner(Model(), None)
    with pytest.raises(ValueError, match="10 of 12 images"):
        cell_means(learner, images[:10].split(5), table, DOMAINS, CLASSES, CPU)
    with pytest.raises(ValueError, match="14 of 12 images"):
        cell_means(learner, [images, images[:2]], table, DOMAINS, CLASSES, CPU)


def test_a_level_that_the_tower_lacks_is_told_before_an_image_is_read():
    learner = SimpleNamespace(model=Model())
    table, _ = samples(2)
    with pytest.raises(UserError, match="no sites of level `channel`"):
        cell_means(learner, iter(()), table, DOMAINS, CLASSES, CPU, (SiteLevel.channel,))
