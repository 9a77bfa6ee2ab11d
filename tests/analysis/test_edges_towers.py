"""Edges of the towers that are trained here, and of pretrained ones' kinds."""

from __future__ import annotations

import pytest
import torch
from planted_streams import VIT_LEVELS, node_scores, random_baselines
from torch import nn

from analysis.block_edges import per_block
from analysis.cells import CellMeans
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


def test_edges_of_a_block_as_a_whole_are_sums_over_its_channels():
    folds = {"layer2.0.main": torch.arange(24.0).reshape(2, 1, 2, 6).numpy()}
    cells = CellMeans(folds, folds["layer2.0.main"][..., 0], ("real",), ("a", "b"))
    whole = per_block(cells).folds["layer2.0.main"]
    assert whole.shape == (2, 1, 2, 1)
    assert whole[0, 0, 0, 0] == sum(range(6))


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
