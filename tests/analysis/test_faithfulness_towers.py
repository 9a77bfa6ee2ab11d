"""Nodes of real towers are kept and taken away: heads and neurons of a ViT, a ResNet's channels."""

from __future__ import annotations

import polars as pl
import pytest
import torch
from torch import nn

from analysis.cells import cell_means
from analysis.circuits import Nodes, batches, masked_margins
from analysis.class_sets import class_sets
from analysis.faithfulness import faithfulness
from analysis.held_images import Images
from analysis.interventions import Baselines, class_tokens, group_means, nodes, spread
from analysis.readout import Readout
from analysis.sites import levels_of, list_sites, taps
from gen.config import load_config
from gen.models.clip import build_clip
from gen.models.trained import Learner
from gen.models.vocabulary import Vocabulary, full_vocabulary
from gen.schema import SiteLevel

CPU = torch.device("cpu")
DOMAINS, CLASSES, PIXELS = ("real", "sketch"), ("cat", "dog", "fox"), 32
NODE_LEVELS = (SiteLevel.head, SiteLevel.neuron, SiteLevel.channel)


@pytest.fixture(scope="module", params=["vit-tiny", "rn-tiny"])
def learner(request) -> Learner:
    config = load_config("models", request.param)
    model = build_clip(config, Vocabulary(full_vocabulary().token_ids[:20], 5), PIXELS, seed=0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)  # a fresh ResNet multiplies its branches by 0
    return Learner(model.eval(), None, pixels=PIXELS)


@pytest.fixture(scope="module")
def sites(learner):
    there = levels_of(learner.model)
    levels = [level for level in NODE_LEVELS if level in there]
    return [site for level in levels for site in list_sites(learner.model, level)]


@pytest.fixture(scope="module")
def images() -> Images:
    cells = [(d, c) for _ in range(2) for d in DOMAINS for c in range(len(CLASSES))]
    samples = pl.DataFrame(cells, ["domain", "class_id"], orient="row").with_columns(
        class_name=pl.col("class_id").replace_strict(range(3), CLASSES)
    )
    generator = torch.Generator().manual_seed(0)
    shape = (len(cells), 3, PIXELS, PIXELS)
    return Images(samples, torch.randint(256, shape, generator=generator).to(torch.uint8))


@pytest.fixture(scope="module")
def base(learner, sites, images) -> Baselines:
    """Means of all images, with strong noise of every cell's own."""
    found: dict[str, torch.Tensor] = {}
    tokens, generator = class_tokens(learner.model.visual), torch.Generator().manual_seed(2)

    def read(site, activations):
        means = group_means(activations, tokens).mean(dim=0)
        shape = (len(DOMAINS), len(CLASSES), *means.shape)
        noise = torch.randn(shape, generator=generator)
        found[site] = means + noise

    with torch.inference_mode(), taps(sites, read):
        learner.model.encode_image(images.pixels_NCHW / 127.5 - 1)
    return Baselines("noisy", found)


@pytest.fixture(scope="module")
def readout(learner) -> Readout:
    with torch.inference_mode():
        width = learner.model.encode_image(torch.zeros(1, 3, PIXELS, PIXELS)).shape[1]
    weights = torch.randn((3, width), generator=torch.Generator().manual_seed(1))
    return Readout(nn.functional.normalize(weights), None, 10.0)


@torch.inference_mode()
def margins(learner, images, base, readout, sites, share, seed=0):
    """With a random share of the nodes kept; the masks, too."""
    (batch,) = batches(learner, images, base, DOMAINS, sites, CPU)
    generator = torch.Generator().manual_seed(seed)
    kept = {}
    for site in sites:
        count = nodes(site, base.values[site.name].shape[-1])
        kept[site.name] = torch.rand((len(images), count), generator=generator) < share
    return masked_margins(learner.model, batch, kept, readout, sites), kept


@torch.inference_mode()
def clean(learner, images, readout):
    return readout.margins(
        learner.model.encode_image(images.pixels_NCHW / 255 * 2 - 1), images.labels
    )


def test_a_tower_that_keeps_all_its_nodes_is_the_tower(learner, images, base, readout, sites):
    found, _ = margins(learner, images, base, readout, sites, share=2)
    assert torch.allclose(found, clean(learner, images, readout), atol=1e-6)


def test_a_tower_that_keeps_none_has_its_baselines_everywhere(
    learner, images, base, readout, sites
):
    found, _ = margins(learner, images, base, readout, sites, share=-1)
    assert (found - clean(learner, images, readout)).abs().max() > 1e-2
    numbers, tokens = images.domain_numbers(DOMAINS), class_tokens(learner.model.visual)

    def replaced(name):
        values = base.values[name][numbers, images.labels]
        return lambda a: spread(values, a, tokens) + torch.zeros_like(a)

    with torch.inference_mode(), taps(sites, edit={s.name: replaced(s.name) for s in sites}):
        expected = clean(learner, images, readout)
    assert torch.allclose(found, expected, atol=1e-6)


@torch.inference_mode()
def test_masks_of_a_batch_are_masks_of_one_image_at_a_time(learner, images, base, readout, sites):
    found, kept = margins(learner, images, base, readout, sites, share=0.5)
    assert found.std() > 0.01
    for i in range(len(images)):
        one = images.of(torch.arange(len(images)) == i)
        (batch,) = batches(learner, one, base, DOMAINS, sites, CPU)
        own = {name: mask[i : i + 1] for name, mask in kept.items()}
        alone = masked_margins(learner.model, batch, own, readout, sites)
        assert torch.allclose(alone, found[i], atol=1e-5)


def test_a_whole_table_of_a_tower(learner, images, base, readout, sites):
    rows = images.samples
    levels = list(dict.fromkeys(site.level for site in sites))
    cells = cell_means(learner, images.pixels_NCHW.split(5), rows, DOMAINS, CLASSES, CPU, levels)
    folds = {
        site.name: cells.folds[site.name][..., : nodes(site, cells.folds[site.name].shape[-1])]
        for site in sites
    }
    scores = type(cells)(folds, cells.counts, DOMAINS, CLASSES)
    found = faithfulness(
        *(learner, images, scores, base, readout, DOMAINS),
        *(class_sets(CLASSES, {}), Nodes(sites), CPU, 0),
    )
    assert set(found["target"]) == set(DOMAINS)
    whole = found.filter(pl.col("k") == 1.0)
    assert set(whole["value"]) <= {1.0, None}
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in learner.model.modules())
