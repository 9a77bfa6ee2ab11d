"""A node's score is what the margin loses without it; a planted circuit is found, and no more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from planted_circuits import (
    CLASSES,
    DISTRACTORS,
    DOMAINS,
    SHARED,
    SITES,
    SIZE,
    circuits,
    planted_images,
    planted_learner,
    planted_readout,
)
from torch import nn

from analysis.attribution import SCORES, Batch, node_scores, scorer
from analysis.attribution_quality import exact
from analysis.baselines import KINDS, baselines, group_cells, mean_images, stand_ins
from analysis.interventions import keeping
from analysis.readout import Readout
from analysis.sites import Site, list_sites, taps
from gen.evaluation.embed import inputs_of
from gen.models.trained import Learner
from gen.schema import SiteLevel

CPU = torch.device("cpu")
PAIRS = [(0, 1), (0, 2), (1, 2)]


@pytest.fixture(scope="module")
def planted():
    """The network, its sites, some images, and means of its cells."""
    learner = planted_learner()
    sites, (samples, pixels) = list_sites(learner.model, SiteLevel.neuron), planted_images(4)
    cells = group_cells(learner, pixels.split(9), samples, DOMAINS, CLASSES, CPU, sites)
    return learner, sites, samples, pixels, cells


def scores_of(planted, kind, metric="own_score", batch=48, bar=None):
    learner, sites, samples, pixels, cells = planted
    told = (samples, DOMAINS, CLASSES, planted_readout(), stand_ins(cells, kind), CPU, sites)
    return node_scores(learner, pixels.split(batch), *told, metric, bar)


@torch.no_grad()
def logits_of(learner, pixels):
    return learner.model.encode_image(inputs_of(learner, CPU)(pixels))


def test_the_planted_network_knows_every_class(planted):
    learner, _, samples, pixels, _ = planted
    logits = logits_of(learner, pixels)
    own = logits.gather(1, torch.tensor(samples["class_id"].to_list())[:, None])
    assert (own > 0.5).all()
    assert torch.allclose(logits.sum(dim=1, keepdim=True), own)  # those of others are 0
    for site in SITES:
        overlaps = [(circuits(site)[a] & circuits(site)[b]).sum(axis=-1) for a, b in PAIRS]
        assert np.unique(overlaps) == [SHARED[site]]
        assert (circuits(site).sum(axis=-1) == SIZE).all()


def test_zero_baselines_recover_the_planted_circuits_exactly(planted):
    found = scores_of(planted, "zero")
    for site in SITES:
        scores_DCN = found.means(site)
        assert ((scores_DCN > 0) == circuits(site)).all()
        assert ((scores_DCN != 0) == circuits(site)).all()
        chosen = scores_DCN != 0
        for a, b in PAIRS:
            overlap = (chosen[a] & chosen[b]).sum(axis=-1) / (chosen[a] | chosen[b]).sum(axis=-1)
            assert overlap == pytest.approx({0: 0.0, 12: 0.5, 18: 1.0}[SHARED[site]])


def test_scores_of_a_cell_add_up_to_the_answer_that_they_explain(planted):
    learner, _, samples, pixels, _ = planted
    samples = samples.with_columns(value=logits_of(learner, pixels).amax(1).numpy())
    cells = samples.group_by("domain", "class_id").agg(pl.mean("value"))
    answers = {(domain, number): value for domain, number, value in cells.rows()}
    found = scores_of(planted, "zero")
    for site in SITES:
        for d, domain in enumerate(DOMAINS):
            for c in range(len(CLASSES)):
                total = found.means(site)[d, c].sum()
                assert total == pytest.approx(answers[domain, c], abs=1e-6)


def test_other_classes_of_the_domain_as_baselines_recover_them_too(planted):
    found = scores_of(planted, "domain_other_class")
    for site in SITES:
        assert ((found.means(site) != 0) == circuits(site)).all()


def test_pooled_baselines_flag_what_is_private_to_other_domains(planted):
    """Restoring what is absent has an effect: |scores| then find circuits more alike than are."""
    found = scores_of(planted, "pooled")
    for site in SITES:
        scores_DCN, of_class = found.means(site), circuits(site).any(axis=0)
        assert ((scores_DCN != 0) == of_class).all()
        private = of_class & ~circuits(site)
        assert (scores_DCN[private] < 0).all()
        assert private.any() == (SHARED[site] < SIZE)
        assert (scores_DCN[circuits(site)] > 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", ["margin", "own_score"])
def test_neurons_that_nothing_reads_score_nothing(planted, kind, metric):
    found = scores_of(planted, kind, metric)
    activations = planted[-1]
    for site in SITES:
        assert (activations[site][..., -DISTRACTORS:] > 0).any()
        assert (found.means(site)[..., -DISTRACTORS:] == 0).all()


def test_in_a_margin_other_classes_neurons_help_by_being_off(planted):
    """Their baseline is what they say of their own images; the circuit still leads."""
    found = scores_of(planted, "domain_other_class", "margin")
    scores_DCN = found.means("block3.neurons")
    read = circuits("block3.neurons").any(axis=(0, 1))
    assert (scores_DCN[..., read] > 0).all()
    own = circuits("block3.neurons")
    assert scores_DCN[own].min() > 5 * scores_DCN[~own].max()
    for site in SITES[:2]:  # a neuron that is off hides from gradients what lies before it
        assert ((found.means(site) != 0) == circuits(site)).all()


def test_what_a_neuron_that_is_off_hides_from_gradients_is_an_effect_all_the_same(planted):
    learner, sites, samples, pixels, cells = planted
    base = stand_ins(cells, "domain_other_class")
    asked = scorer(learner, planted_readout(), base, CPU, sites)
    batch = batch_of(learner, samples, pixels)
    next_class = (int(batch.labels_B[0]) + 1) % len(CLASSES)
    absent = torch.from_numpy(np.flatnonzero(circuits(SITES[1])[0, next_class])[:1])  # shared
    assert exact(asked, batch, sites[1], absent)[0] > 1e-4
    assert asked.atp(batch)[SITES[1]][0, absent] == 0


def test_scores_do_not_depend_on_the_batches(planted):
    once, often = (scores_of(planted, "pooled", "margin", batch) for batch in (100, 1))
    for site in SITES:
        assert often.folds[site] == pytest.approx(once.folds[site], abs=1e-7)
    assert (once.counts == often.counts).all()


def test_progress_is_told_in_images(planted):
    seen = []
    scores_of(planted, "zero", batch=20, bar=type("Bar", (), {"update": seen.append}))
    assert seen == [20, 20, 8]


def batch_of(learner, samples, pixels):
    numbers = torch.tensor([DOMAINS.index(name) for name in samples["domain"]])
    labels = torch.tensor(samples["class_id"].to_list())
    return Batch(inputs_of(learner, CPU)(pixels), numbers, labels)


class Linear(nn.Module):
    """A tower of tokens without any nonlinearity, whose tokens count differently.

    One token stands for the whole image; four channels make two heads.
    """

    num_prefix_tokens = 1

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, 4, 4, stride=4)
        self.mixed = nn.Linear(4, 4)
        self.proj = nn.Linear(4, 4)
        self.places = nn.Parameter(torch.randn(1, 5, 1))

    def forward(self, images):
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)
        return self.proj(self.mixed(tokens).flip(1) * self.places).sum(dim=1)


class Model(nn.Module):
    def __init__(self, tower) -> None:
        super().__init__()
        self.visual = tower

    def encode_image(self, images):
        return self.visual(images)


@pytest.fixture(scope="module")
def linear():
    """A linear model and sites of it: channels of a map, of tokens, heads, an embedding."""
    tower = Linear()
    sites = [
        Site("map", SiteLevel.channel, 0, tower.patches, "out"),
        Site("tokens", SiteLevel.neuron, 0, tower.mixed, "in"),
        Site("heads", SiteLevel.head, 0, tower.proj, "in", heads=2),
        Site("channels", SiteLevel.neuron, 1, tower.proj, "in"),
        Site("embedding", SiteLevel.residual, 0, tower, "out"),
    ]
    learner = Learner(Model(tower), None, pixels=8)
    samples, pixels = planted_images(2)
    told = (pixels.split(7), samples, DOMAINS, CLASSES, CPU)
    return learner, sites, batch_of(learner, samples, pixels), told


@pytest.mark.parametrize("kind", KINDS)
def test_in_a_linear_model_all_scores_are_exact(linear, kind):
    learner, sites, batch, told = linear
    base = baselines(learner, *told, sites, kind)
    asked = scorer(learner, planted_readout(), base, CPU, sites, "own_score")
    found = {s: asked.scores(s, batch, mean_images(learner, *told)) for s in SCORES}
    for site in sites:
        count = 2 if site.heads else 4
        true = exact(asked, batch, site, torch.arange(count))
        assert true.abs().max() > 0.01
        for score in SCORES:
            assert torch.allclose(found[score][site.name], true, atol=1e-5), (site.name, score)


def test_scores_of_a_cell_are_means_over_its_images_against_its_own_baselines(linear):
    learner, sites, batch, (batches, samples, *told) = linear
    base = baselines(learner, batches, samples, *told, sites)
    read = planted_readout(), base, CPU, sites, "own_score"
    found = node_scores(learner, batches, samples, *told[:2], *read)
    at = {}
    with torch.no_grad(), taps(sites, at.__setitem__):
        learner.model.encode_image(batch.inputs)
    weights = learner.model.visual.proj.weight.detach()
    for d, c in ((0, 0), (2, 1)):
        mask = (batch.domains_B == d) & (batch.labels_B == c)
        whole, patches = base.values["channels"][d, c]  # of the class token, of the others
        ways = at["channels"][mask] - torch.stack([whole] + [patches] * 4)
        expected = (ways * weights[c]).sum(dim=1).mean(dim=0)
        assert found.means("channels")[d, c] == pytest.approx(expected.numpy(), abs=1e-6)


def test_a_heads_score_is_the_sum_of_its_channels(linear):
    learner, sites, batch, told = linear
    base = baselines(learner, *told, sites)
    found = scorer(learner, planted_readout(), base, CPU, sites).atp(batch)
    by_channel = found["channels"]
    assert torch.allclose(found["heads"], by_channel.unflatten(1, (2, 2)).sum(dim=2), atol=1e-6)


def test_class_tokens_have_baselines_of_their_own(linear):
    learner, sites, _, (batches, samples, *told) = linear
    found = group_cells(learner, batches, samples, *told, sites)
    assert {site: values.shape[2] for site, values in found.items()} == {
        **{"map": 1, "tokens": 2, "heads": 2, "channels": 2, "embedding": 1}
    }
    read = {}
    with torch.no_grad(), taps(sites, read.__setitem__):
        learner.model.encode_image(inputs_of(learner, CPU)(torch.cat(list(batches))))
    mask = ((samples["domain"] == DOMAINS[1]) & (samples["class_id"] == 2)).to_numpy()
    own = read["tokens"][mask].double()
    expected = torch.stack([own[:, 0].mean(dim=0), own[:, 1:].mean(dim=(0, 1))])
    assert torch.allclose(found["tokens"][1, 2], expected, atol=1e-6)


def test_baselines_are_means_over_the_cells_that_their_kind_names(linear):
    learner, sites, _, told = linear
    cells = group_cells(learner, *told, sites)
    found = {kind: stand_ins(cells, kind).values["tokens"] for kind in KINDS}
    means = cells["tokens"].float()
    assert torch.allclose(found["pooled"], means.mean(dim=(0, 1)).expand(means.shape), atol=1e-6)
    others = means[1, [0, 1, 3]].mean(dim=0)
    assert torch.allclose(found["domain_other_class"][1, 2], others, atol=1e-6)
    assert not found["zero"].any()
    assert {values.dtype for values in found.values()} == {torch.float32}


def test_paths_begin_at_the_mean_image_of_the_domains_other_classes(linear):
    learner, _, _, told = linear
    samples, images = told[1], inputs_of(learner, CPU)(torch.cat(list(told[0])))
    others = ((samples["domain"] == DOMAINS[2]) & (samples["class_id"] != 1)).to_numpy()
    found = mean_images(learner, *told)
    assert found.shape == (3, 4, 3, 8, 8)
    assert torch.allclose(found[2, 1], images[others].mean(dim=0), atol=1e-6)


def test_one_class_has_no_others_and_a_cell_without_images_no_mean(linear):
    learner, sites, _, (batches, samples, domains, _, device) = linear
    with pytest.raises(ValueError, match="no other to stand in"):
        stand_ins({"stem": torch.zeros(3, 1, 1, 5)}, "domain_other_class")
    with pytest.raises(ValueError, match="needs an image"):
        baselines(learner, batches, samples, domains, (*CLASSES, "yak"), device, sites)


class Rectified(nn.Module):
    """A ResNet's way of activation: in place, its maps with channels last."""

    def __init__(self, inplace) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3)
        self.norm = nn.BatchNorm2d(6)
        self.act1, self.act2 = nn.ReLU(inplace), nn.ReLU(inplace)

    def forward(self, images):
        first = self.act1(self.norm(self.conv1(images)))
        return self.act2(self.conv2(first)).mean(dim=(2, 3))


def rectified(inplace):
    tower = Rectified(inplace)
    sites = [
        Site(name, SiteLevel.channel, depth, getattr(tower, name), "out")
        for depth, name in enumerate(("act1", "act2"))
    ]
    return Learner(Model(tower), None, pixels=8), sites


def scored(score, inplace=True):
    learner, sites = rectified(inplace)
    samples, pixels = planted_images(2)
    told = (pixels.split(7), samples, DOMAINS, CLASSES, CPU)
    base = baselines(learner, *told, sites)
    asked = scorer(learner, Readout(torch.eye(4), None, 10.0), base, CPU, sites)
    batch = batch_of(learner, samples, pixels)
    return asked, batch, asked.scores(score, batch, mean_images(learner, *told))


@pytest.mark.parametrize("score", SCORES)
def test_activations_in_place_change_no_score(score):
    first, second = scored(score, True)[2], scored(score, False)[2]
    for site, values in first.items():
        assert values.abs().max() > 1e-4
        assert torch.allclose(values, second[site], atol=1e-7)


def test_gradients_are_those_of_every_image_alone():
    asked, batch, found = scored("atp")
    for i in range(3):
        one = Batch(*(part[i : i + 1] for part in (batch.inputs, batch.domains_B, batch.labels_B)))
        for site, values in asked.atp(one).items():
            assert torch.allclose(values[0], found[site][i], atol=1e-6)


def test_a_small_step_to_the_baseline_costs_what_the_score_says():
    asked, batch, _ = scored("atp")
    model, weights = asked.model.double(), asked.readout.weights_CE.double()
    asked = replace(asked, readout=replace(asked.readout, weights_CE=weights))
    batch = replace(batch, inputs=batch.inputs.double())
    whole = asked.value(model.encode_image(batch.inputs), batch.labels_B)
    found, step = asked.atp(batch), 1e-4
    for site in asked.sites:
        values = asked.base.of(site.name, batch.domains_B, batch.labels_B)
        for node in range(found[site.name].shape[1]):
            kept = torch.ones(1, found[site.name].shape[1], dtype=torch.float64)
            kept[0, node] -= step
            with taps([site], edit={site.name: keeping(site, kept, values, 0)}):
                after = asked.value(model.encode_image(batch.inputs), batch.labels_B)
            assert torch.allclose(found[site.name][:, node], (whole - after) / step, atol=1e-4)


@pytest.mark.parametrize("score", SCORES)
def test_nothing_is_left_in_the_model(score):
    learner, sites = rectified(True)
    learner.model.visual.conv1.weight.requires_grad_(False)
    asks = {name: weight.requires_grad for name, weight in learner.model.named_parameters()}
    samples, pixels = planted_images(2)
    told = (pixels.split(7), samples, DOMAINS, CLASSES)
    base = baselines(learner, *told, CPU, sites)
    right, wrong = (Readout(torch.eye(n), None, 10.0) for n in (4, 3))  # of 4 and 3 channels
    options = {"score": score, "origins": mean_images(learner, *told, CPU)}
    node_scores(learner, *told, right, base, CPU, sites, **options)
    with pytest.raises(RuntimeError):
        node_scores(learner, *told, wrong, base, CPU, sites, **options)
    assert {name: w.requires_grad for name, w in learner.model.named_parameters()} == asks
    assert all(weight.grad is None for weight in learner.model.parameters())
    for module in learner.model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_a_model_in_training_is_scored_as_it_is_tested():
    learner, sites = rectified(True)
    samples, pixels = planted_images(2)
    told = (pixels.split(7), samples, DOMAINS, CLASSES)
    base, read = baselines(learner, *told, CPU, sites), Readout(torch.eye(4), None, 10.0)
    expected = node_scores(learner, *told, read, base, CPU, sites)
    learner.model.train()
    found = node_scores(learner, *told, read, base, CPU, sites)
    assert (found.means("act1") == expected.means("act1")).all()


def test_rows_without_an_image_images_without_a_row_and_paths_without_origins_are_errors(planted):
    learner, sites, samples, pixels, cells = planted
    told = (samples, DOMAINS, CLASSES, planted_readout(), stand_ins(cells, "zero"), CPU, sites)
    with pytest.raises(ValueError, match="40 of 48 images"):
        node_scores(learner, pixels[:40].split(8), *told)
    with pytest.raises(ValueError, match="50 of 48 images"):
        node_scores(learner, [pixels, pixels[:2]], *told)
    with pytest.raises(ValueError, match="images to begin with"):
        node_scores(learner, [pixels], *told, score="ig_input")


@pytest.mark.gpu
def test_scores_on_a_gpu_are_those_on_the_processor(planted):
    learner, sites, samples, pixels, cells = planted
    told = (samples, DOMAINS, CLASSES, planted_readout(), stand_ins(cells, "pooled"))
    expected = node_scores(learner, [pixels], *told, CPU, sites)
    found = node_scores(learner, [pixels], *told, torch.device("cuda"), sites)
    learner.model.to(CPU)
    for site in SITES:
        assert found.folds[site] == pytest.approx(expected.folds[site], abs=1e-6)
