"""Edges of the towers that are trained here, and of pretrained ones' kinds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from planted_streams import VIT_LEVELS, node_scores, random_baselines
from torch import nn

from analysis.circuits import Batch, masked_margins
from analysis.edge_circuits import edge_margins
from analysis.edges import image_edges, wiring_of
from analysis.published_circuits import published_sites
from analysis.readout import Readout
from analysis.sites import list_sites
from gen.config import load_config
from gen.models.clip import build_clip
from gen.models.clippo import build_clippo
from gen.models.vocabulary import Vocabulary, full_vocabulary
from gen.schema import SiteLevel
from splits.errors import UserError

PIXELS, C = 64, 5
VITS = ("vit-tiny", "scaled-vit", "clippo", "timm-vit")
RESNETS = ("rn-tiny", "resnet18-timm", "resnet14t-timm")
TIMM = {
    "timm-vit": "vit_tiny_patch16_224",
    "resnet14t-timm": "resnet14t",
    "resnet18-timm": "resnet18",
}
LABELS, PLACES = torch.tensor([0, 3, 1]), torch.tensor([0, 1, 1])


def build(name):
    """In double precision; nothing in it is multiplied by 0, or by a scale of 1."""
    if name == "clippo":
        model = build_clippo(load_config("models", "clippo-tiny"), PIXELS, 0, bias=False)
    else:
        timm = [f"vision.timm_model={TIMM[name]}"] if name in TIMM else []
        known = {"scaled-vit": "vit-tiny", **dict.fromkeys(TIMM, "resnet18-timm")}
        config = load_config("models", known.get(name, name), timm)
        model = build_clip(config, Vocabulary(full_vocabulary().token_ids[:20], 5), PIXELS, seed=0)
    torch.manual_seed(0)
    for module in list(model.visual.modules()):
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1)  # a fresh ResNet multiplies its branches by 0
        for scale in ("ls_1", "ls_2") if name == "scaled-vit" else ("ls1", "ls2"):
            if hasattr(module, scale) and name != "vit-tiny":
                setattr(module, scale, layer_scale(name))
    return model.double().eval()


def layer_scale(name):
    from open_clip.transformer import LayerScale as OpenClips
    from timm.layers.layer_scale import LayerScale as Timms

    width = {"timm-vit": 192}.get(name, 128)
    scale = (OpenClips if name == "scaled-vit" else Timms)(width, 1.0)
    nn.init.normal_(scale.gamma)
    return scale


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 3, PIXELS, PIXELS, generator=generator, dtype=torch.float64)


def read_by(model, images):
    with torch.no_grad():
        width = model.encode_image(images).shape[1]
    weights = torch.randn(C, width, generator=torch.Generator().manual_seed(3)).double()
    return Readout(nn.functional.normalize(weights, dim=1), None, 10.0)


def both(model, images, levels):
    """Edges by target, their graph, and independent scores of the units that feed them."""
    base, read, wiring = (
        random_baselines(model, images, levels, classes=C),
        read_by(model, images),
        wiring_of(model),
    )
    found = image_edges(model, wiring, images, LABELS, PLACES, read, base)
    nodes = node_scores(model, images.clone(), LABELS, PLACES, read, base, wiring.sources)
    return found, wiring, nodes


def sums_of(found, graph):
    sums = torch.zeros(len(graph.sources), len(LABELS), dtype=torch.float64)
    for target, scores in found.items():
        feeds = graph.feeds[target]
        sums[feeds.start : feeds.stop] += scores.T
    return sums.T


@pytest.mark.parametrize("name", VITS)
def test_heads_and_mlps_of_a_vit_are_the_sums_of_their_edges(name, images):
    found, wiring, nodes = both(build(name), images, VIT_LEVELS)
    expected = []
    for site in wiring.sources:
        units = nodes[site.name]
        per_node = units.unflatten(1, (site.heads or 1, -1)).sum(dim=2)
        expected.append(per_node)
    expected, sums = torch.cat(expected, dim=1), sums_of(found, wiring.graph)
    assert sums.shape == expected.shape
    assert (sums - expected).abs().max() < 1e-8 * expected.abs().max()
    assert all(scores.abs().max() > 0 for scores in found.values())


@pytest.mark.parametrize("name", RESNETS)
def test_channels_of_a_resnet_are_the_sums_of_their_edges(name, images):
    """A node is read where its baseline is: the stem's before its pooling."""
    model = build(name)
    found, wiring, _ = both(model, images, (SiteLevel.channel,))
    sources = {site.name for site in wiring.sources}
    sites = [site for site in list_sites(model, SiteLevel.channel) if site.name in sources]
    base, read = random_baselines(model, images, (SiteLevel.channel,), C), read_by(model, images)
    nodes = node_scores(model, images.clone(), LABELS, PLACES, read, base, sites)
    expected = torch.cat([nodes[site.name] for site in sites], dim=1)
    sums = sums_of(found, wiring.graph)
    assert sums.shape == expected.shape
    assert (sums - expected).abs().max() < 1e-8 * expected.abs().max()
    assert all(scores.abs().max() > 0 for scores in found.values())


def test_both_branches_of_every_block_are_fed_by_the_block_before():
    graph = wiring_of(build("rn-tiny")).graph
    assert graph.targets[:4] == ("layer1.0.main", "layer1.0.skip", "layer2.0.main", "layer2.0.skip")
    assert graph.targets[-1] == "readout"
    assert graph.sources_of("layer1.0.skip")[0] == "stem.act3.0"
    assert graph.sources_of("layer2.0.main") == graph.sources_of("layer2.0.skip")
    assert graph.sources_of("layer2.0.main")[-1] == "layer1.0.act3.47"
    assert graph.sources_of("readout")[-1] == "layer4.0.act3.383"


def test_a_skip_connection_without_a_layer_is_told_from_the_convolutions(images):
    """With a block's convolutions silenced, all that its channels say goes past them."""
    model = build("resnet18-timm")
    block = model.visual.trunk.layer1[1]
    assert block.downsample is None
    nn.init.zeros_(block.bn2.weight)
    found, _, _ = both(model, images, (SiteLevel.channel,))
    assert found["layer1.1.main"].abs().max() == 0
    assert found["layer1.1.skip"].abs().max() > 0


# --- edges that are taken away --------------------------------------------------------------------


@pytest.fixture(scope="module", params=["vit-tiny", "scaled-vit", "timm-vit", *RESNETS])
def case(request, images):
    """A model, its wiring, readout, and the batch with baselines of all of its nodes."""
    model = build(request.param)
    levels = VIT_LEVELS if "vit" in request.param else (SiteLevel.channel,)
    base = random_baselines(model, images, levels, classes=C)
    values = {name: base.of(name, PLACES, LABELS) for name in base.values}
    return model, wiring_of(model), read_by(model, images), Batch(images, LABELS, values)


def masks(wiring, make):
    """By target [B, S]."""
    graph = wiring.graph
    return {target: make(len(LABELS), len(graph.feeds[target])) for target in graph.targets}


@torch.no_grad()
def test_a_tower_with_all_edges_is_itself_and_without_any_it_sees_no_image(case):
    model, wiring, read, batch = case
    clean = read.margins(model.encode_image(batch.inputs), LABELS)
    whole = edge_margins(model, wiring, batch, masks(wiring, torch.ones), read)
    assert torch.allclose(whole, clean, atol=1e-9)
    empty = edge_margins(model, wiring, batch, masks(wiring, torch.zeros), read)
    other = replace(batch, inputs=batch.inputs.flip(0))
    again = edge_margins(model, wiring, other, masks(wiring, torch.zeros), read)
    assert torch.allclose(empty, again, atol=1e-6)
    assert (empty - clean).abs().max() > 1e-2
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@torch.no_grad()
def test_a_head_or_a_channel_without_any_of_its_edges_is_taken_away(case):
    model, wiring, read, batch = case
    names = [name for name in wiring.graph.sources if name[-1].isdigit()]
    clean = read.margins(model.encode_image(batch.inputs), LABELS)
    for source in (names[0], names[len(names) // 2], names[-1]):
        kept = masks(wiring, torch.ones)
        for target in wiring.graph.targets:
            of_target = wiring.graph.sources_of(target)
            if source in of_target:
                kept[target][:, of_target.index(source)] = 0
        found = edge_margins(model, wiring, batch, kept, read)
        place, _, number = source.rpartition(".")
        level = SiteLevel.head if place.endswith("heads") else SiteLevel.channel
        sites = [site for site in list_sites(model, level) if site.name == place]
        node = torch.ones(1, sites[0].heads or batch.baselines[place].shape[-1])
        node[:, int(number)] = 0
        expected = masked_margins(model, batch, {place: node}, read, sites)
        assert torch.allclose(found, expected, atol=1e-9), source
        assert (found - clean).abs().max() > 1e-6


@torch.no_grad()
def test_every_image_loses_its_own_edges(case):
    model, wiring, read, batch = case
    generator = torch.Generator().manual_seed(4)
    kept = masks(wiring, lambda *shape: torch.rand(shape, generator=generator) < 0.5)
    together = edge_margins(model, wiring, batch, kept, read)
    for i in range(len(LABELS)):
        one = slice(i, i + 1)
        values = {name: found[one] for name, found in batch.baselines.items()}
        alone = Batch(batch.inputs[one], LABELS[one], values)
        own = {target: mask[one] for target, mask in kept.items()}
        assert torch.allclose(edge_margins(model, wiring, alone, own, read), together[one])


@torch.no_grad()
def test_a_channel_that_loses_one_of_two_branches_still_enters_the_other():
    """By the layers of a block: what its convolutions read is edited, and not what is added."""
    model = build("resnet18-timm")
    images = torch.randn(3, 3, PIXELS, PIXELS, generator=torch.Generator().manual_seed(1)).double()
    wiring, read = wiring_of(model), read_by(model, images)
    base = random_baselines(model, images, (SiteLevel.channel,), classes=C)
    values = {name: base.of(name, PLACES, LABELS) for name in base.values}
    block, source = model.visual.trunk.layer1[1], "layer1.0.act2"
    absent = values[source][:, 0, 7, None, None]

    def forward(into_main, into_skip):
        def own(_module, inputs, _output):
            main, skip = inputs[0].clone(), inputs[0].clone()
            for branch, is_gone in ((main, into_main), (skip, into_skip)):
                if is_gone:
                    branch[:, 7] = absent
            inner = block.act1(block.bn1(block.conv1(main)))
            return block.act2(block.bn2(block.conv2(inner)) + skip)

        handle = block.register_forward_hook(own)
        margin = read.margins(model.encode_image(images), LABELS)
        handle.remove()
        return margin

    for into_main, into_skip in ((True, False), (False, True)):
        kept = masks(wiring, torch.ones)
        kept["layer1.1.main"][:, 7] = not into_main
        kept["layer1.1.skip"][:, 7] = not into_skip
        found = edge_margins(model, wiring, Batch(images, LABELS, values), kept, read)
        assert torch.allclose(found, forward(into_main, into_skip), atol=1e-9)
        assert (found - forward(False, False)).abs().max() > 1e-6


def test_edges_behind_a_normalisation_of_the_heads_output_are_refused():
    model = build("vit-tiny")
    model.visual.transformer.resblocks[0].ln_attn = nn.LayerNorm(128).double()
    with pytest.raises(UserError, match="are not known"):
        wiring_of(model)


def test_published_sites_are_those_of_open_clips_resnet():
    names = [site.name for site in published_sites(build("rn-tiny"))]
    stem = ["input", "stem.act1", "stem.act2", "stem.act3", "stem"]
    assert names == [*stem, "layer1.0", "layer2.0", "layer3.0", "layer4.0", "embedding"]
    with pytest.raises(UserError, match="were not published"):
        published_sites(build("vit-tiny"))
