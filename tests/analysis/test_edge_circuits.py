"""Edges of a small transformer are kept and taken away: exact where it is linear."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from planted_streams import (
    CLASSES,
    DOMAINS,
    PIXELS,
    VIT_LEVELS,
    learner_of,
    random_baselines,
    stream,
    two_class_readout,
)

from analysis.cells import CellMeans
from analysis.circuits import Batch, masked_margins
from analysis.class_sets import class_sets
from analysis.edge_circuits import Edges, edge_margins
from analysis.edges import edge_scores, image_edges, wiring_of
from analysis.faithfulness import FAITHFULNESS, faithfulness, forwards
from analysis.held_images import Images
from analysis.interventions import spread
from analysis.readout import Readout
from analysis.sites import list_sites, taps
from gen.schema import SiteLevel

COUNT, CPU = 4, torch.device("cpu")
LABELS, PLACES = torch.tensor([0, 1, 1, 0]), torch.tensor([0, 0, 1, 1])
READOUT = two_class_readout()
NODE_LEVELS = (SiteLevel.head, SiteLevel.neuron)


@pytest.fixture(scope="module")
def inputs():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(COUNT, 3, PIXELS, PIXELS, generator=generator, dtype=torch.float64)


def batch_of(base, inputs, chosen=slice(None)):
    labels, places = LABELS[chosen], PLACES[chosen]
    values = {name: base.of(name, places, labels) for name in base.values}
    return Batch(inputs[chosen], labels, values)


def masks(wiring, value, count=COUNT):
    """All edges alike, by target [B, S]."""
    graph = wiring.graph
    return {t: torch.full((count, len(graph.feeds[t])), bool(value)) for t in graph.targets}


def random_masks(wiring, seed=0):
    generator = torch.Generator().manual_seed(seed)
    kept = masks(wiring, True)
    return {t: torch.rand(mask.shape, generator=generator) < 0.5 for t, mask in kept.items()}


@torch.no_grad()
def margins(model, wiring, inputs, base, kept):
    return edge_margins(model, wiring, batch_of(base, inputs), kept, READOUT)


@torch.no_grad()
def clean(model, inputs):
    return READOUT.margins(model.encode_image(inputs), LABELS)


@pytest.fixture(scope="module", params=[True, False], ids=["linear", "not linear"])
def tower(request, inputs):
    model = stream(linear=request.param)
    return model, wiring_of(model), random_baselines(model, inputs, VIT_LEVELS)


def test_a_tower_that_keeps_all_its_edges_is_the_tower(tower, inputs):
    model, wiring, base = tower
    found = margins(model, wiring, inputs, base, masks(wiring, True))
    assert torch.equal(found, clean(model, inputs))


def test_without_any_edge_the_readout_reads_baselines_and_no_image(tower, inputs):
    model, wiring, base = tower
    kept = masks(wiring, False)
    found = margins(model, wiring, inputs, base, kept)
    others = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(9)).double()
    assert torch.allclose(found, margins(model, wiring, others, base, kept), atol=1e-9)
    assert (found - clean(model, inputs)).abs().min() > 1e-3
    # as a tower whose stem, heads and neurons all are their baselines
    values = batch_of(base, inputs).baselines
    absent = {
        site.name: lambda a, name=site.name: spread(values[name], a, 1) + 0 * a
        for site in wiring.sources
    }
    with taps(wiring.sources, edit=absent):
        assert torch.allclose(found, clean(model, inputs), atol=1e-9)


def test_one_edge_of_a_linear_network_takes_with_it_what_path_patching_says(inputs):
    model = stream(linear=True)
    wiring, base = wiring_of(model), random_baselines(model, inputs, VIT_LEVELS)
    scores = image_edges(model, wiring, inputs, LABELS, PLACES, READOUT, base)
    whole = clean(model, inputs)
    for target, expected in scores.items():
        for column in range(expected.shape[1]):
            kept = masks(wiring, True)
            kept[target][:, column] = False
            lost = whole - margins(model, wiring, inputs, base, kept)
            assert torch.allclose(lost, expected[:, column], atol=1e-9), (target, column)


def test_a_source_whose_own_input_lost_an_edge_hands_on_what_is_left_of_it(inputs):
    """Two edges in a row: what the second carries is computed behind the first, not in a clean
    forward, so that the losses of a linear network do not add up."""
    model = stream(linear=True)
    wiring, base = wiring_of(model), random_baselines(model, inputs, VIT_LEVELS)
    column = wiring.graph.sources_of("readout").index("block1.mlp")
    both, first, second = (masks(wiring, True) for _ in range(3))
    for kept in (both, first):
        kept["block1.mlp"][:, 0] = False
    for kept in (both, second):
        kept["readout"][:, column] = False
    whole = clean(model, inputs)
    lost = [whole - margins(model, wiring, inputs, base, kept) for kept in (both, first, second)]
    assert (lost[0] - lost[1] - lost[2]).abs().min() > 1e-3


@pytest.mark.parametrize("source", ["block1.heads.1", "block2.heads.0", "block2.mlp", "block3.mlp"])
def test_a_node_without_any_of_its_edges_is_a_node_taken_away(tower, inputs, source):
    model, wiring, base = tower
    kept = masks(wiring, True)
    for target in wiring.graph.targets:
        names = wiring.graph.sources_of(target)
        if source in names:
            kept[target][:, names.index(source)] = False
    found = margins(model, wiring, inputs, base, kept)
    sites = [site for level in NODE_LEVELS for site in list_sites(model, level)]
    nodes = {
        site.name: torch.ones(COUNT, site.heads or base.values[site.name].shape[-1])
        for site in sites
    }
    part, _, rest = source.partition(".")
    if rest == "mlp":
        nodes[f"{part}.neurons"][:] = 0
    else:
        nodes[f"{part}.heads"][:, int(rest[-1])] = 0
    with torch.no_grad():
        expected = masked_margins(model, batch_of(base, inputs), nodes, READOUT, sites)
    assert torch.allclose(found, expected, atol=1e-9)
    assert (found - clean(model, inputs)).abs().min() > 1e-4


def test_edges_of_a_batch_are_taken_from_every_image_by_itself(tower, inputs):
    model, wiring, base = tower
    kept = random_masks(wiring)
    found = margins(model, wiring, inputs, base, kept)
    for i in range(COUNT):
        own = {target: mask[i : i + 1] for target, mask in kept.items()}
        batch = batch_of(base, inputs, slice(i, i + 1))
        with torch.no_grad():
            alone = edge_margins(model, wiring, batch, own, READOUT)
        assert torch.allclose(alone, found[i : i + 1], atol=1e-9)


def test_no_hook_stays(tower, inputs):
    model, wiring, base = tower
    margins(model, wiring, inputs, base, random_masks(wiring))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


# --- the table ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def case():
    """A model in single precision, images of four cells, their edges' scores and baselines."""
    model, rng = stream(linear=False).float(), np.random.default_rng(0)
    rows = [(d, c) for d in range(2) for c in range(2)] * 2
    pixels = torch.from_numpy(rng.integers(0, 256, (8, 3, PIXELS, PIXELS), dtype=np.uint8))
    samples = pl.DataFrame(
        {"domain": [DOMAINS[d] for d, _ in rows], "class_id": [c for _, c in rows]}
    ).with_columns(class_name=pl.col("class_id").replace_strict([0, 1], CLASSES))
    base = random_baselines(model, pixels.float() / 255, VIT_LEVELS)
    known = two_class_readout(dtype=torch.float32)
    read = Readout(-known.weights_CE, known.bias_C, 1.0)  # this one is better than the baselines
    rest = (samples, DOMAINS, CLASSES, read, base, CPU)
    scores, _ = edge_scores(learner_of(model), [pixels], *rest)
    return learner_of(model), Images(samples, pixels), scores, base, read


def table_of(case, scores=None, bar=None):
    learner, images, found, base, read = case
    return faithfulness(
        *(learner, images, scores or found, base, read, DOMAINS, class_sets(CLASSES, {})),
        *(Edges(wiring_of(learner.model)), CPU, 0, bar),
    )


def test_a_table_of_edges_has_the_columns_of_one_of_nodes_and_no_complement(case):
    table = table_of(case)
    assert dict(table.schema) == FAITHFULNESS
    assert set(table["parts"]) == {"edges"}
    assert set(table["circuit"]) == {"own", "other", "random", "wrong_class"}
    pairs = table.select("source", "target", "circuit").unique()
    assert pairs.height == len(DOMAINS) ** 2 + 2 * len(DOMAINS)


def test_all_edges_carry_the_whole_answer_and_no_edge_carries_none(case):
    """A tenth of a percent of these edges is none of them."""
    scores: CellMeans = case[2]
    assert sum(values.shape[-1] for values in scores.folds.values()) < 1000
    known = table_of(case).filter(pl.col("quantity") == "f").drop_nulls("value")
    assert known.height
    assert set(known.filter(pl.col("k") == 1.0)["value"]) == {1.0}
    least = known.filter(pl.col("k") == 0.001)["value"].to_numpy()
    assert least == pytest.approx(0, abs=1e-12)


def test_the_bar_counts_every_forward_of_every_image(case):
    class Bar:
        total = 0

        def update(self, count):
            self.total += count

    bar = Bar()
    table_of(case, bar=bar)
    assert bar.total == 8 * forwards(len(DOMAINS), "edges") < 8 * forwards(len(DOMAINS))


def test_edges_are_found_by_name(case):
    scores: CellMeans = case[2]
    turned = scores.of_classes(list(CLASSES)[::-1]).of_domains(list(DOMAINS)[::-1])
    assert table_of(case, turned).equals(table_of(case))
