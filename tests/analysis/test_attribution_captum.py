"""Scores agree with captum's where it computes the same."""

from __future__ import annotations

import pytest
import torch
from captum.attr import InternalInfluence, LayerGradientXActivation, LayerIntegratedGradients
from torch import nn

from analysis.attribution import STEPS, Batch, scorer
from analysis.interventions import Baselines
from analysis.readout import Readout
from analysis.sites import Site, taps
from gen.models.trained import Learner
from gen.schema import SiteLevel

CPU = torch.device("cpu")
READOUT = Readout(torch.eye(4), None, 10.0)


class Model(nn.Module):
    """Layers whose maps have one place, so that baselines of places are those of a group."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 4), nn.Conv2d(8, 6, 1)
        self.act1, self.act2, self.head = nn.GELU(), nn.ReLU(), nn.Linear(6, 4)

    def encode_image(self, images):
        maps = self.act2(self.second(self.act1(self.first(images))))
        return self.head(maps.flatten(1))


@pytest.fixture(scope="module")
def model():
    return Model().eval()


def sites(model):
    return [
        Site(name, SiteLevel.channel, depth, getattr(model, name), "out")
        for depth, name in enumerate(("act1", "act2"))
    ]


def asked(model, origins):
    """The scores' question and images; baselines are the activations of the origins, or zero."""
    read = {}
    with torch.no_grad(), taps(sites(model), read.__setitem__):
        model.encode_image(torch.zeros(1, 3, 4, 4))
    if origins is None:
        read = {name: torch.zeros_like(values) for name, values in read.items()}
    values = {name: found.reshape(1, 1, 1, -1).expand(1, 4, 1, -1) for name, found in read.items()}
    inputs = torch.randn(10, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    batch = Batch(inputs, torch.zeros(10, dtype=torch.int64), torch.arange(10) % 4)
    base = Baselines("planted", values)
    return scorer(Learner(model, None), READOUT, base, CPU, sites(model)), batch


def margins(model):
    return lambda images, labels: READOUT.margins(model.encode_image(images), labels)


def agrees(found, theirs):
    return theirs.abs().max() > 1e-3 and torch.allclose(found, theirs.flatten(1), atol=1e-6)


def test_with_zero_baselines_attribution_patching_is_gradient_times_activation(model):
    question, batch = asked(model, None)
    found = question.atp(batch)
    for site in question.sites:
        theirs = LayerGradientXActivation(margins(model), site.module)
        expected = theirs.attribute(batch.inputs, additional_forward_args=batch.labels_B)
        assert agrees(found[site.name], expected)


def test_paths_of_layers_are_captums_with_points_at_their_right_ends(model):
    """Captum goes from the baseline to the image, the published scores the other way."""
    question, batch = asked(model, "images")
    found = question.ig_layer(batch)
    for site in question.sites:
        expected = LayerIntegratedGradients(margins(model), site.module).attribute(
            batch.inputs,
            torch.zeros_like(batch.inputs),
            additional_forward_args=batch.labels_B,
            n_steps=STEPS,
            method="riemann_right",
        )
        assert agrees(found[site.name], expected)


def test_paths_of_inputs_are_captums_influence_times_the_way_from_the_baseline(model):
    question, batch = asked(model, "images")
    found, at = question.ig_input(batch, torch.zeros_like(batch.inputs)), {}
    with torch.no_grad(), taps(question.sites, at.__setitem__):
        model.encode_image(batch.inputs)
    for site in question.sites:
        influence = InternalInfluence(margins(model), site.module).attribute(
            batch.inputs,
            torch.zeros_like(batch.inputs),
            additional_forward_args=batch.labels_B,
            n_steps=STEPS,
            method="riemann_middle",
        )
        values = question.base.of(site.name, batch.domains_B, batch.labels_B)
        way = at[site.name].flatten(1) - values[:, 0]
        assert agrees(found[site.name], influence.flatten(1) * way)
