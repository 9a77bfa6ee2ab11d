"""What stands in for nodes that are taken away, at every position, and nowhere else."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from analysis.interventions import (
    Baselines,
    class_tokens,
    group_means,
    keeping,
    nodes,
    of_nodes,
    spread,
    to_units,
)
from analysis.sites import Site
from gen.schema import SiteLevel

CHANNELS = Site("layer1", SiteLevel.channel, 0, nn.Identity(), "out")
HEADS = Site("block1.heads", SiteLevel.head, 0, nn.Identity(), "in", heads=3)


@pytest.mark.parametrize(("shape", "groups"), [((2, 6, 4, 4), 1), ((2, 5, 6), 2), ((2, 6), 1)])
def test_means_of_groups_that_are_spread_again_keep_the_means(shape, groups):
    activations = torch.randn(shape)
    means = group_means(activations, tokens=1)
    assert means.shape == (2, groups, 6)
    again = spread(means, activations, tokens=1).expand_as(activations)
    assert torch.allclose(group_means(again, tokens=1), means, atol=1e-6)


def test_class_tokens_are_a_group_of_their_own():
    tokens = torch.arange(5.0).reshape(1, 5, 1)
    assert group_means(tokens, 1).flatten().tolist() == [0.0, 2.5]
    assert group_means(tokens, 0).flatten().tolist() == [2.0]
    assert spread(torch.tensor([[[7.0], [9.0]]]), tokens, 1).flatten().tolist() == [7, 9, 9, 9, 9]


def test_towers_say_how_many_class_tokens_they_have():
    assert class_tokens(SimpleNamespace(trunk=SimpleNamespace(num_prefix_tokens=5))) == 5
    assert class_tokens(SimpleNamespace(class_embedding=torch.zeros(4))) == 1
    assert class_tokens(SimpleNamespace()) == 0


def test_a_head_is_all_of_its_channels():
    assert (nodes(HEADS, 6), nodes(CHANNELS, 6)) == (3, 6)
    values = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
    assert of_nodes(values, HEADS).tolist() == [[3.0, 7.0, 11.0]]
    assert to_units(torch.tensor([[1.0, 0.0, 2.0]]), HEADS, 6).tolist() == [[1, 1, 0, 0, 2, 2]]
    assert torch.equal(of_nodes(values, CHANNELS), values)


@pytest.mark.parametrize("shape", [(2, 6, 4, 4), (2, 5, 6), (2, 6)])
@pytest.mark.parametrize("site", [CHANNELS, HEADS], ids=lambda site: site.name)
def test_nodes_that_are_kept_stay_and_all_others_become_their_baselines(shape, site):
    activations = torch.randn(shape)
    baseline = group_means(torch.randn(shape), tokens=1)
    count = nodes(site, 6)
    kept = torch.zeros(2, count)
    kept[0, 0] = 1
    found = keeping(site, kept, baseline, tokens=1)(activations)
    unit_axis = 1 if len(shape) == 4 else -1
    is_kept = to_units(kept, site, 6).bool()
    expected = spread(baseline, activations, 1).expand_as(activations).clone()
    for image in range(2):
        expected[image] = torch.where(
            is_kept[image].reshape([6, 1, 1] if unit_axis == 1 else [6]),
            activations[image],
            expected[image],
        )
    assert torch.allclose(found, expected)
    whole = keeping(site, torch.ones(1, count), baseline, tokens=1)(activations)
    assert torch.equal(whole, activations)


def test_baselines_are_those_of_an_images_own_cell():
    values = {"layer1": torch.arange(12.0).reshape(2, 3, 1, 2)}
    found = Baselines("zero", values).of("layer1", torch.tensor([1, 0]), torch.tensor([2, 1]))
    assert found.tolist() == [[[10.0, 11.0]], [[2.0, 3.0]]]
