"""The published circuits: every number of theirs by hand, or by another computation."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import cosine_similarity, normalize

from analysis.attribution import Batch, scorer
from analysis.class_sets import ClassSet
from analysis.interventions import Baselines
from analysis.published_circuits import (
    PublishedCircuit,
    edge_effects,
    edge_jaccard,
    largest,
    node_effects,
    published_circuit,
    published_circuit_sharing,
    top_parents,
    wl_kernel,
)
from analysis.readout import Readout
from analysis.replication import PUBLISHED
from analysis.sites import Site
from gen.schema import SiteLevel

U, V, E, SIDE, COUNT = 5, 7, 4, 3, 6


class Small(nn.Module):
    """Two convolutions, the mean over places, and a linear layer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, U, 1), nn.Conv2d(U, V, 1, bias=False)
        self.act, self.last = nn.GELU(), nn.Linear(V, E)

    def encode_image(self, images):
        return self.embed(self.lower(self.upper(images)))

    def upper(self, images):
        return self.act(self.first(images))

    def lower(self, z):
        return self.second(z)

    def embed(self, y):
        return self.last(y.square().mean(dim=(2, 3)))


@pytest.fixture(scope="module")
def model():
    return Small().double().eval()


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(COUNT, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)


@pytest.fixture
def sites(model):
    places = [
        ("input", model.first, "in"),
        ("upper", model.act, "out"),
        ("lower", model.second, "out"),
    ]
    places.append(("embedding", model.last, "out"))
    return [Site(name, SiteLevel.residual, i, *rest) for i, (name, *rest) in enumerate(places)]


TEXTS = normalize(torch.randn(3, E, generator=torch.Generator().manual_seed(2)).double(), dim=1)
READOUT, LABELS = Readout(TEXTS, None, 7.0), torch.full((COUNT,), 2)


def test_nodes_are_integrated_gradients_of_every_layer_from_itself_to_zero(model, images, sites):
    tails = {
        "input": lambda z: model.encode_image(z),
        "upper": lambda z: model.embed(model.lower(z)),
        "lower": model.embed,
        "embedding": lambda z: z,
    }
    with torch.no_grad():
        upper = model.upper(images)
        lower = model.lower(upper)
    clean = {"input": images, "upper": upper, "lower": lower, "embedding": model.embed(lower)}
    found = node_effects(model, images, LABELS, READOUT, sites)
    for name, tail in tails.items():
        effects = []
        for z in clean[name].detach():  # image by image
            gradients = []
            for alpha in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
                point = ((1 - alpha) * z)[None].requires_grad_()
                metric = cosine_similarity(tail(point), TEXTS[2:3])
                gradients.append(torch.autograd.grad(metric.sum(), point)[0][0])
            effects.append((sum(gradients) / 10 * -z).reshape(len(z), -1).sum(dim=1))
        assert torch.allclose(found[name], sum(effects) / COUNT, atol=1e-10), name


def test_nodes_are_those_of_our_own_code_for_the_same_definition(model, images, sites):
    units = {"input": 3, "upper": U, "lower": V, "embedding": E}
    zero = {name: torch.zeros(1, 3, 1, count).double() for name, count in units.items()}
    ours = scorer(
        SimpleNamespace(model=model),
        READOUT,
        Baselines("zero", zero),
        torch.device("cpu"),
        sites,
        "own_score",
    )
    layers = ours.ig_layer(Batch(images, torch.zeros_like(LABELS), LABELS))
    for name, effects in node_effects(model, images, LABELS, READOUT, sites).items():
        assert torch.allclose(-layers[name].mean(dim=0), effects, atol=1e-10), name


def test_a_unit_that_helps_has_a_negative_effect_as_published(images):
    """Of an embedding (1, 0, 0, 1) and a text (1, 0, 0, 0)."""
    straight = Small().double().eval()
    nn.init.zeros_(straight.last.weight)
    with torch.no_grad():
        straight.last.bias.copy_(torch.tensor([1.0, 0, 0, 1]))
    read = Readout(torch.eye(E).double()[:2], None, 1.0)
    site = Site("embedding", SiteLevel.residual, 0, straight.last, "out")
    effect = node_effects(straight, images, torch.zeros(COUNT, dtype=torch.long), read, [site])
    assert effect["embedding"][0] < 0 < effect["embedding"][3]


def test_edges_are_what_scaling_all_parents_does_to_a_linear_child(model, images, sites):
    """With y = W z: the mean over α of ∂/∂z mean (y − (1 − α) y)², times −z, in closed form."""
    with torch.no_grad():
        z = model.upper(images)
        y = model.lower(z)
    weights_VU = model.second.weight.detach()[:, :, 0, 0]
    by_hand = 2 * 0.45 * torch.einsum("bvij,vu,buij->vu", y, weights_VU, z)
    by_hand /= COUNT * SIDE**2 * COUNT  # mean over images and places; mean over images
    parents, children = [4, 0, 2], [1, 6]
    found = edge_effects(model, images, sites[1], sites[2], parents, children)
    assert torch.allclose(found, by_hand[children][:, parents], atol=1e-12)


def test_a_tenth_of_the_units_is_kept_rounded_up_by_absolute_effect():
    effects = torch.tensor([0.1, -9, 3, 0, 0, 0, 0, 0, 0, 0, 8])
    assert largest(effects) == (1, 10)
    assert largest(effects[:10]) == (1,)


def test_parents_are_the_three_of_largest_signed_effect():
    effects = torch.tensor([[-9.0, 1, 5, -0.5, 2], [0.1, -0.2, -0.3, -8, -9]])
    assert top_parents(effects) == [[2, 4, 1], [0, 1, 2]]
    assert top_parents(effects[:, :2]) == [[1, 0], [0, 1]]


def test_a_circuit_has_edges_between_kept_units_of_sites_that_follow_each_other(
    model, images, sites
):
    found = published_circuit(model, images, LABELS, READOUT, sites)
    assert {name: len(units) for name, units in found.kept.items()} == {
        **{"input": 1, "upper": 1, "lower": 1, "embedding": 1}
    }
    chain = [(name, found.kept[name][0]) for name in ("upper", "lower", "embedding")]
    assert found.edges == {(chain[0], chain[1]), (chain[1], chain[2])}
    assert found.nodes == chain  # not the input


def test_images_pass_once_per_step_of_every_site_and_of_every_child(model, images, sites):
    passes = []
    hook = model.last.register_forward_hook(lambda *_: passes.append(1))
    published_circuit(model, images, LABELS, READOUT, sites)
    hook.remove()
    nodes, edges = 1 + 4 * 10, 2 * (1 + 1 * 10)
    assert len(passes) == nodes + edges


def graph(*edges, alone=()):
    """A circuit of these edges, nodes as `site unit` in two characters."""
    pairs = [tuple((name[0], int(name[1])) for name in edge.split(">")) for edge in edges]
    kept: dict = {}
    for site, unit in {node for pair in pairs for node in pair} | set(alone):
        kept.setdefault(site, set()).add(unit)
    return PublishedCircuit({}, {k: tuple(sorted(v)) for k, v in kept.items()}, frozenset(pairs))


def test_edge_sets_are_compared_by_jaccard():
    a, b = graph("a1>b1", "a2>b1", "b1>c1"), graph("a1>b1", "a3>b1", "b1>c1", "b2>c1")
    assert edge_jaccard(a, b) == 2 / 5
    assert edge_jaccard(a, a) == 1
    assert edge_jaccard(graph(), graph()) == 0


def test_the_kernel_of_equal_graphs_is_1_and_of_graphs_without_a_common_name_0():
    a = graph("a1>b1", "a2>b1", "b1>c1")
    relabelled = graph("a3>b2", "a4>b2", "b2>c2")
    assert wl_kernel(a, graph("b1>c1", "a2>b1", "a1>b1")) == 1
    assert wl_kernel(a, relabelled) == 0


def test_the_kernel_counts_nodes_that_lead_to_the_same_by_hand():
    """Of a chain a → b → c and one whose last node is another, rounds see as far as they go."""
    a, b = graph("a1>b1", "b1>c1"), graph("a1>b1", "b1>c2")
    # start: a and b alike. Round 1: only a (its child's name). Rounds 2 and 3: none
    assert wl_kernel(a, b, rounds=3) == pytest.approx((2 + 1) / (4 * 3))
    assert wl_kernel(a, b, rounds=0) == pytest.approx(2 / 3)


def test_the_kernel_follows_edges_downstream_and_knows_nodes_without_edges():
    a, b = graph("a1>b1", alone=[("c", 5)]), graph("a2>b1", alone=[("c", 5)])
    # b1 and c5 lead nowhere in either: alike in all four counts, of three nodes each
    assert wl_kernel(a, b) == pytest.approx(2 * 4 / (3 * 4))


def test_a_table_has_the_mean_over_classes_and_says_where_there_is_none():
    sites = [Site("b", SiteLevel.residual, 3, nn.Identity(), "out")]
    circuits = {
        ("real", 0): graph("a1>b1", "a1>b2"),
        ("sketch", 0): graph("a1>b1"),
        ("real", 1): graph("a1>b1"),
        ("sketch", 1): graph("a1>b1"),
        ("real", 2): graph("a1>b1"),
    }
    sets = [ClassSet("all", None, (0, 1, 2)), ClassSet("held_out", 0, (2,))]
    table = published_circuit_sharing(circuits, sites, ["real", "sketch"], sets)
    assert dict(table.schema) == PUBLISHED
    everything = {row["measure"]: row for row in table.filter(classes="all").to_dicts()}
    assert everything["circuit_edge_jaccard"]["value"] == (1 / 2 + 1) / 2
    assert everything["circuit_node_jaccard"]["value"] == (1 / 2 + 1) / 2
    assert everything["circuit_node_jaccard"]["n"] == 2
    gone = table.filter(classes="held_out")
    assert gone["value"].null_count() == gone.height == 3
    assert set(gone["note"]) == {"no class of this set has both circuits"}
