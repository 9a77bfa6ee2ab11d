"""Edges of a transformer: exact where it is linear, and in sum what its nodes say."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from planted_streams import (
    BLOCKS,
    CLASSES,
    DOMAINS,
    HEADS,
    PIXELS,
    VIT_LEVELS,
    learner_of,
    node_scores,
    random_baselines,
    stream,
    two_class_readout,
)
from torch import nn

from analysis import attribution
from analysis.edges import edge_scores, image_edges, wiring_of
from analysis.interventions import Baselines, spread
from analysis.readout import Readout
from analysis.sites import list_sites, taps
from gen.schema import SiteLevel
from splits.errors import UserError

COUNT = 4
LABELS, PLACES = torch.tensor([0, 1, 1, 0]), torch.tensor([0, 0, 1, 1])
READOUT = two_class_readout()


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(COUNT, 3, PIXELS, PIXELS, generator=generator, dtype=torch.float64)


def edges_of(model, images, base):
    return image_edges(model, wiring_of(model), images, LABELS, PLACES, READOUT, base)


def margins(model, images, sites=(), edit=None):
    with torch.no_grad(), taps(sites, edit=edit):
        return READOUT.margins(model.encode_image(images), LABELS)


@torch.no_grad()
def written(model, images, base, source):
    """What a source writes to the stream beyond what its baseline would, by the model's layers."""
    part, _, rest = source.partition(".")
    levels = SiteLevel.head if rest.startswith("heads") else SiteLevel.neuron
    name = {"": "stem", "mlp": f"{part}.neurons"}.get(rest, f"{part}.heads")
    sites = list_sites(model, SiteLevel.residual if name == "stem" else levels)
    found = {}
    with taps(sites, lambda name, a: found.update({name: a})):
        model.encode_image(images)
    clean = found[name]
    absent = spread(base.of(name, PLACES, LABELS), clean, 1)
    if name == "stem":
        return clean - absent
    block = model.visual.blocks[int(part.removeprefix("block")) - 1]
    if rest == "mlp":
        return block.ls2(block.mlp.fc2(clean)) - block.ls2(block.mlp.fc2(absent))
    ours = torch.arange(clean.shape[-1]) // (clean.shape[-1] // HEADS) == int(rest[-1])
    without = torch.where(ours, absent, clean)
    return block.ls1(block.attn.proj(clean)) - block.ls1(block.attn.proj(without))


def test_edges_of_a_linear_network_are_what_a_target_loses_when_it_alone_reads_a_baseline(images):
    model = stream(linear=True)
    base, clean = random_baselines(model, images, VIT_LEVELS), margins(model, images)
    wiring = wiring_of(model)
    found = edges_of(model, images, base)
    branches = {site.name: site for site in wiring.branches}
    for target, scores in found.items():
        for column, source in enumerate(wiring.graph.sources_of(target)):
            change = written(model, images, base, source)
            edit = {target: lambda x, change=change: x - change}
            exact = clean - margins(model, images, [branches[target]], edit)
            assert torch.allclose(scores[:, column], exact, atol=1e-10), (source, target)


def sources_sum(found, graph):
    """By source the sum of its edges, [B]."""
    sums = dict.fromkeys(graph.sources, 0.0)
    for target, scores in found.items():
        for column, source in enumerate(graph.sources_of(target)):
            sums[source] = sums[source] + scores[:, column]
    return sums


@pytest.mark.parametrize("linear", [True, False])
def test_a_node_is_the_sum_of_its_edges(images, linear):
    model = stream(linear=linear)
    base, wiring = random_baselines(model, images, VIT_LEVELS), wiring_of(model)
    sums = sources_sum(edges_of(model, images, base), wiring.graph)
    sites = wiring.sources
    nodes = node_scores(model, images.clone(), LABELS, PLACES, READOUT, base, sites)
    for site in sites:
        if site.heads:
            by_head = nodes[site.name].unflatten(1, (site.heads, -1)).sum(dim=2)
            for head in range(site.heads):
                assert torch.allclose(by_head[:, head], sums[f"{site.name}.{head}"], atol=1e-10)
        else:
            name = site.name.replace("neurons", "mlp")
            assert torch.allclose(nodes[site.name].sum(dim=1), sums[name], atol=1e-10)


def test_a_source_feeds_every_branch_behind_it_and_none_before(images):
    graph = wiring_of(stream(linear=False)).graph
    assert len(graph.sources) == 1 + BLOCKS * (HEADS + 1)
    assert graph.targets[:3] == ("block1.attention", "block1.mlp", "block2.attention")
    assert graph.targets[-1] == "readout"
    assert graph.sources_of("block1.attention") == ("stem",)
    heads = tuple(f"block1.heads.{head}" for head in range(HEADS))
    assert graph.sources_of("block1.mlp") == ("stem", *heads)
    assert graph.sources_of("block2.attention") == ("stem", *heads, "block1.mlp")
    assert graph.sources_of("readout") == graph.sources


def test_a_branch_that_reads_nothing_has_no_edges(images):
    model = stream(linear=False)
    nn.init.zeros_(model.visual.blocks[2].norm2.weight)
    found = edges_of(model, images, random_baselines(model, images, VIT_LEVELS))
    assert found["block3.mlp"].abs().max() == 0
    assert found["block3.attention"].abs().min() > 0


def test_what_is_its_baseline_already_has_no_edges(images):
    model = stream(linear=False)
    base = random_baselines(model, images, VIT_LEVELS)
    with torch.no_grad():
        for block in model.visual.blocks:
            block.mlp.fc1.weight.zero_()
            block.mlp.fc1.bias.zero_()  # neurons are GELU(0) = 0 on every image
    values = {name: v * 0 if "neurons" in name else v for name, v in base.values.items()}
    sums = sources_sum(edges_of(model, images, Baselines("random", values)), wiring_of(model).graph)
    assert {name for name, total in sums.items() if total.abs().max() == 0} == {
        f"block{number}.mlp" for number in range(1, BLOCKS + 1)
    }


def test_scores_of_an_image_do_not_depend_on_the_others_of_its_batch(images):
    model = stream(linear=False)
    base, wiring = random_baselines(model, images, VIT_LEVELS), wiring_of(model)
    together = edges_of(model, images, base)
    alone = image_edges(model, wiring, images[2:3], LABELS[2:3], PLACES[2:3], READOUT, base)
    for target, scores in together.items():
        assert torch.allclose(scores[2:3], alone[target], atol=1e-12)


def test_a_frozen_tower_has_edges_and_no_hook_or_gradient_stays(images):
    model = stream(linear=False).requires_grad_(False)
    found = edges_of(model, images, random_baselines(model, images, VIT_LEVELS))
    assert found["readout"].abs().min() > 0
    assert not images.requires_grad
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.fixture(scope="module")
def cell_case():
    """A model in single precision, with images of four cells: what streams over images take."""
    model, rng = stream(linear=False).float(), np.random.default_rng(0)
    rows = [(d, c) for d in range(2) for c in range(2)] * 2
    pixels = torch.from_numpy(rng.integers(0, 256, (8, 3, PIXELS, PIXELS), dtype=np.uint8))
    domains, labels = [DOMAINS[d] for d, _ in rows], [c for _, c in rows]
    samples = pl.DataFrame({"domain": domains, "class_id": labels})
    base = random_baselines(model, pixels.float() / 255, VIT_LEVELS)
    read = two_class_readout(dtype=torch.float32)
    return model, pixels, samples, (DOMAINS, CLASSES, read, base, torch.device("cpu"))


def test_cells_hold_the_means_of_their_images(cell_case):
    model, pixels, samples, rest = cell_case
    cells, graph = edge_scores(learner_of(model), pixels.split(3), samples, *rest)
    assert tuple(cells.folds) == graph.targets
    rows = list(zip(samples["domain"], samples["class_id"], strict=True))
    places = torch.tensor([DOMAINS.index(domain) for domain, _ in rows])
    labels = torch.tensor([label for _, label in rows])
    single = image_edges(model, wiring_of(model), pixels / 255, labels, places, *rest[2:4])
    for target in graph.targets:
        assert cells.folds[target].shape == (2, 2, 2, len(graph.sources_of(target)))
        for domain, c in set(rows):
            mine = single[target][[row == (domain, c) for row in rows]].mean(dim=0).numpy()
            assert np.allclose(cells.means(target)[DOMAINS.index(domain), c], mine, atol=1e-5)


def test_cells_of_nodes_are_the_sums_of_those_of_their_edges(cell_case):
    model, pixels, samples, rest = cell_case
    edges, graph = edge_scores(learner_of(model), pixels.split(3), samples, *rest)
    sites = wiring_of(model).sources
    nodes = attribution.node_scores(learner_of(model), [pixels], samples, *rest, sites)
    sums = np.zeros((2, 2, 2, len(graph.sources)))
    for target, feeds in graph.feeds.items():
        sums[..., feeds.start : feeds.stop] += edges.folds[target]
    expected = [
        nodes.folds[site.name] if site.heads else nodes.folds[site.name].sum(axis=-1, keepdims=True)
        for site in sites
    ]
    assert np.allclose(sums, np.concatenate(expected, axis=-1), rtol=1e-5, atol=1e-5)


def test_more_images_than_rows_are_an_error(cell_case):
    model, pixels, samples, rest = cell_case
    with pytest.raises(ValueError, match="11 of 8 images"):
        edge_scores(learner_of(model), [pixels, pixels[:3]], samples, *rest)


def test_the_metric_is_the_margin(images):
    """Of classes with one text all margins stand still, and so do all edges."""
    model = stream(linear=False)
    same = Readout(torch.ones(2, 6, dtype=torch.float64), torch.zeros(2, dtype=torch.float64), 1.0)
    base = random_baselines(model, images, VIT_LEVELS)
    found = image_edges(model, wiring_of(model), images, LABELS, PLACES, same, base)
    assert all(scores.abs().max() < 1e-12 for scores in found.values())


def test_blocks_of_another_kind_are_refused():
    model = stream(linear=False)
    del model.visual.blocks[1].ls1
    with pytest.raises(UserError, match="the edges of blocks of kind Block are not known"):
        wiring_of(model)
