"""Scores are held against what taking single nodes away does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planted_circuits import (
    CLASSES,
    DOMAINS,
    SITES,
    circuits,
    planted_images,
    planted_learner,
    planted_readout,
)
from scipy.stats import spearmanr
from torch import nn

from analysis.attribution import SCORES, Batch, scorer
from analysis.attribution_quality import (
    ATTRIBUTION_QUALITY,
    _tied,
    agreement,
    attribution_quality,
    exact,
)
from analysis.baselines import group_cells, mean_images, stand_ins
from analysis.held_images import Images
from analysis.sites import Site, list_sites
from gen.evaluation.embed import inputs_of
from gen.models.trained import Learner
from gen.schema import SiteLevel

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def planted():
    learner = planted_learner()
    sites, (samples, pixels) = list_sites(learner.model, SiteLevel.neuron), planted_images(1)
    told = (pixels.split(20), samples, DOMAINS, CLASSES, CPU)
    return learner, sites, Images(samples, pixels), group_cells(learner, *told, sites), told


def quality(planted, kind="domain_other_class", **options):
    learner, sites, images, cells, told = planted
    base, origins = stand_ins(cells, kind), mean_images(learner, *told)
    read = planted_readout()
    return attribution_quality(learner, images, DOMAINS, read, base, origins, CPU, sites, **options)


def test_every_site_and_score_has_a_row(planted):
    seen = []
    table = quality(planted, bar=type("Bar", (), {"update": lambda: seen.append(1)}))
    assert dict(table.schema) == ATTRIBUTION_QUALITY
    assert table["site"].to_list() == [site for site in SITES for _ in SCORES]
    assert table["score"].to_list() == [*SCORES] * 3
    assert table["depth"].to_list() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert set(table["level"]) == {"neuron"}
    assert set(table["baseline"]) == {"domain_other_class"}
    assert set(table["n_images"]) == {12}
    assert table["n"].to_list() == [200] * 3 + [196] * 3 + [148] * 3
    assert len(seen) == 3


def test_taking_a_planted_neuron_away_costs_the_evidence_that_it_carries(planted):
    learner, sites, images, cells, _ = planted
    asked = scorer(learner, planted_readout(), stand_ins(cells, "zero"), CPU, sites, "own_score")
    inputs = inputs_of(learner, CPU)(images.pixels_NCHW)
    batch = Batch(inputs, images.domain_numbers(DOMAINS), images.labels)
    logits = learner.model.encode_image(inputs).amax(dim=1, keepdim=True)
    for site in sites[1:]:
        found = exact(asked, batch, site, torch.arange(120))
        member = torch.from_numpy(circuits(site.name))[batch.domains_B, batch.labels_B, :120]
        assert torch.allclose(found, member * logits / 18, atol=1e-6)


def test_single_nodes_are_taken_away_in_the_order_asked_for_however_many_at_a_time(
    planted, monkeypatch
):
    learner, sites, images, cells, _ = planted
    asked = scorer(learner, planted_readout(), stand_ins(cells, "pooled"), CPU, sites)
    inputs = inputs_of(learner, CPU)(images.pixels_NCHW)
    batch = Batch(inputs, images.domain_numbers(DOMAINS), images.labels)
    chosen = torch.tensor([40, 3, 7])
    found = exact(asked, batch, sites[2], chosen)
    assert found.shape == (12, 3)
    whole = exact(asked, batch, sites[2], torch.arange(50))
    assert torch.allclose(found, whole[:, chosen], atol=1e-7)
    monkeypatch.setattr("analysis.attribution_quality.batch_size", lambda _pixels: 1)
    assert torch.allclose(exact(asked, batch, sites[2], chosen), found, atol=1e-7)


def test_planted_neurons_are_ranked_by_their_effects(planted):
    for kind in ("zero", "domain_other_class"):
        table = quality(planted, kind, scores=("atp",), most=120)
        assert table["spearman"].to_list() == pytest.approx([1, 1, 1])
        assert table["jaccard"].to_list() == [1, 1, 1]
        assert set(table["note"]) == {"no interval: all ranks agree"}


def test_rows_compare_the_means_over_all_images(planted):
    learner, sites, images, cells, _ = planted
    asked = scorer(learner, planted_readout(), stand_ins(cells, "pooled"), CPU, sites)
    inputs = inputs_of(learner, CPU)(images.pixels_NCHW)
    batch = Batch(inputs, images.domain_numbers(DOMAINS), images.labels)
    table, found = quality(planted, "pooled", scores=("atp",)), asked.atp(batch)
    assert table["spearman"].to_list() == pytest.approx([1, 1, 1])
    for site, row in zip(sites[1:], table[1:].iter_rows(named=True), strict=True):
        effects = exact(asked, batch, site, torch.arange(row["n"]))
        alone = [spearmanr(found[site.name].mean(dim=0), image).statistic for image in effects]
        assert min(alone) < 0.9  # one image may be another answer
        expected = spearmanr(found[site.name].mean(dim=0), effects.mean(dim=0)).statistic
        assert row["spearman"] == pytest.approx(expected, abs=0.01)


def test_effects_that_differ_by_rounding_are_equal_and_others_stay_apart():
    effects = np.array([0.3, 0.1 + 2e-9, -0.2, 0.1, 0.3 + 1e-6, 0.1 - 1e-9, 0.0])
    found = _tied(effects, 1e-8)
    assert found[1] == found[3] == found[5] == pytest.approx(0.1, abs=1e-9)
    assert found[[0, 2, 4, 6]].tolist() == pytest.approx([0.3, -0.2, 0.3 + 1e-6, 0.0], abs=1e-12)
    assert found[0] < found[4]
    assert _tied(np.zeros(0), 1e-8).shape == (0,)


def test_a_sample_of_the_nodes_is_measured_where_a_site_has_more(planted):
    first, again, other = (
        quality(planted, most=30, seed=seed, scores=("atp", "ig_input")) for seed in (0, 0, 1)
    )
    assert first.equals(again)
    assert not first.equals(other)
    assert set(first["n"]) == {30}


def test_the_rank_correlation_is_scipys_and_its_interval_covers_as_it_says():
    rng, covered, draws = np.random.default_rng(0), 0, 400
    rho = 6 / np.pi * np.arcsin(0.9 / 2)  # Spearman's, of normal pairs that correlate by 0.9
    for _ in range(draws):
        effects = rng.normal(size=80)
        row = agreement(0.9 * effects + np.sqrt(1 - 0.81) * rng.normal(size=80), effects)
        covered += row["spearman_lo"] < rho < row["spearman_hi"]
    assert covered / draws == pytest.approx(0.95, abs=0.03)
    scores = np.array([0.0, 0.0, 3.0, 1.0, -2.0, 2.0])
    effects = np.array([0.0, 1.0, 2.0, 3.0, -1.0, 0.0])
    found = agreement(scores, effects)["spearman"]
    assert found == pytest.approx(spearmanr(scores, effects).statistic)


def test_the_interval_of_ranks_is_the_published_one():
    """The example of R's statpsych, by one of its authors: `ci.spear`."""
    y = [21, 4, 9, 12, 35, 18, 10, 22, 24, 1, 6, 8, 13, 16, 19]
    x = [67, 28, 30, 28, 52, 40, 25, 37, 44, 10, 14, 20, 28, 40, 51]
    row = agreement(np.array(y, float), np.array(x, float))
    assert row["spearman"] == pytest.approx(0.8699639, abs=1e-7)
    assert row["spearman_lo"] == pytest.approx(0.5840951, abs=1e-6)
    assert row["spearman_hi"] == pytest.approx(0.9638297, abs=1e-6)


def test_the_tops_are_those_of_the_largest_size_and_zeros_are_in_none():
    effects = np.array([9.0, -8.0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    assert agreement(-effects, effects)["jaccard"] == 1
    scores = effects.copy()
    scores[1], scores[2] = 0, 8
    assert agreement(scores, effects)["jaccard"] == pytest.approx(1 / 3)
    assert agreement(np.eye(20)[0], np.eye(20)[0])["jaccard"] == 1  # of one node each
    assert agreement(np.zeros(20), np.zeros(20))["jaccard"] is None


@pytest.mark.parametrize(
    ("scores", "effects", "note"),
    [
        ([1, 2, 3, 4], [0, 0, 0, 0], "no node has an effect"),
        ([1, 1, 1, 1], [1, 2, 3, 4], "all nodes have the same score"),
        ([1, 2, 3, 4], [2, 2, 2, 2], "all nodes have the same effect"),
        ([1, 2, 3], [3, 1, 2], "no interval: 3 nodes, fewer than 4"),
        ([1, 2, 3, 4], [2, 3, 4, 9], "no interval: all ranks agree"),
    ],
)
def test_a_number_that_cannot_be_estimated_is_missing_and_a_note_says_why(scores, effects, note):
    row = agreement(np.array(scores, float), np.array(effects, float))
    assert row["note"] == note
    assert (row["spearman"] is None) == ("interval" not in note)
    assert row["spearman_lo"] is row["spearman_hi"] is None


class Faint(nn.Module):
    """A tower whose channels change answers of size 1 in their last digit, if at all."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.read, self.answer = nn.Conv2d(3, 20, 8), nn.Linear(20, 4)
        with torch.no_grad():
            self.answer.weight.mul_(2e-7)
            self.answer.bias.fill_(1)

    def encode_image(self, images):
        return self.answer(self.read(images).flatten(1))


def test_what_rounding_makes_of_no_effect_is_none(planted):
    learner, images, told = Learner(Faint(), None, pixels=8), planted[2], planted[4]
    site = Site("read", SiteLevel.channel, 0, learner.model.read, "out")
    base = stand_ins(group_cells(learner, *told, [site]), "zero")
    asked = scorer(learner, planted_readout(), base, CPU, [site])
    inputs = inputs_of(learner, CPU)(images.pixels_NCHW)
    batch = Batch(inputs, images.domain_numbers(DOMAINS), images.labels)
    assert exact(asked, batch, site, torch.arange(20)).any()
    rest = mean_images(learner, *told), CPU, [site]
    table = attribution_quality(learner, images, DOMAINS, planted_readout(), base, *rest)
    assert set(table["note"]) == {"no node has an effect"}
    assert table["spearman"].is_null().all()
