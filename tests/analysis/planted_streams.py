"""A small transformer with known wiring, linear or not: laid out as timm's ViT, without timm."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import nn

from analysis.interventions import Baselines, class_tokens, group_means, spread
from analysis.readout import Readout
from analysis.sites import list_sites, taps
from gen.schema import SiteLevel

PATCH, PIXELS, WIDTH, HEADS, NEURONS, BLOCKS = 4, 8, 6, 3, 10, 3
TOKENS = 1 + (PIXELS // PATCH) ** 2
DOMAINS, CLASSES = ("real", "sketch"), ("cat", "dog")


class Scale(nn.Module):
    """LayerScale."""

    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.randn(WIDTH))

    def forward(self, x):
        return x * self.gamma


class Mixing(nn.Module):
    """Attention whose weights do not depend on what it reads, one matrix of tokens per head."""

    num_heads = HEADS

    def __init__(self):
        super().__init__()
        self.values = nn.Linear(WIDTH, WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)
        self.mixing = nn.Parameter(torch.randn(HEADS, TOKENS, TOKENS))

    def forward(self, x):
        values = self.values(x).unflatten(-1, (HEADS, -1))
        return self.proj(torch.einsum("hts,bshd->bthd", self.mixing, values).flatten(2))


class Block(nn.Module):
    def __init__(self, linear):
        super().__init__()
        norm = nn.Identity if linear else lambda: nn.LayerNorm(WIDTH)
        self.norm1, self.norm2 = norm(), norm()
        self.attn, self.ls1, self.ls2 = Mixing(), Scale(), Scale()
        self.mlp = nn.Sequential()
        self.mlp.fc1 = nn.Linear(WIDTH, NEURONS)
        self.mlp.act = nn.Identity() if linear else nn.GELU()
        self.mlp.fc2 = nn.Linear(NEURONS, WIDTH)

    def forward(self, x):
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class Stream(nn.Module):
    """The tower; its first token stands for the image."""

    num_prefix_tokens = 1

    def __init__(self, linear):
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, stride=PATCH)
        self.first = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.norm_pre = nn.Identity()
        self.blocks = nn.Sequential(*(Block(linear) for _ in range(BLOCKS)))
        self.head = nn.Linear(WIDTH, WIDTH)

    def forward(self, images):
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.first.expand(len(images), -1, -1), patches], dim=1)
        tokens = self.blocks(self.norm_pre(tokens))
        return self.head(tokens[:, 0] + tokens.mean(dim=1))


class Model(nn.Module):
    def __init__(self, linear):
        super().__init__()
        self.visual = Stream(linear)

    def encode_image(self, images):
        return self.visual(images)


def stream(*, linear, seed=0):
    """The model, in double precision."""
    torch.manual_seed(seed)
    return Model(linear).double().eval()


def learner_of(model, pixels=PIXELS):
    return SimpleNamespace(model=model, mean=(0.0,) * 3, std=(1.0,) * 3, pixels=pixels)


def two_class_readout(width=WIDTH, dtype=torch.float64):
    """Of two classes the margin is the difference of their logits: linear in the embedding."""
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(2, width, generator=generator, dtype=dtype)
    return Readout(weights, torch.zeros(2, dtype=dtype), 1.0)


def random_baselines(model, images, levels, classes=2, domains=2):
    """Any numbers at all sites of some levels: [D, C, G, U]."""
    tokens, found = class_tokens(model.visual), {}
    sites = [site for level in levels for site in list_sites(model, level)]
    with torch.no_grad(), taps(sites, lambda name, a: found.update({name: a})):
        model.encode_image(images)
    generator, values = torch.Generator().manual_seed(2), {}
    for name, activations in found.items():
        shape = (domains, classes, *group_means(activations, tokens).shape[1:])
        values[name] = torch.randn(shape, generator=generator, dtype=activations.dtype)
    return Baselines("random", values)


def node_scores(model, images, labels, domains, readout, base, sites):
    """(a − a_base) · ∂m/∂a of every unit, summed over positions: by torch.autograd, [B, U]."""
    found = {}
    with taps(sites, lambda name, a: found.update({name: a})):
        margin = readout.margins(model.encode_image(images.requires_grad_()), labels).sum()
    gradients = torch.autograd.grad(margin, list(found.values()))
    scores = {}
    for (name, a), gradient in zip(found.items(), gradients, strict=True):
        change = a - spread(base.of(name, domains, labels), a, class_tokens(model.visual))
        product = change * gradient
        scores[name] = product.sum(dim=(2, 3) if a.ndim == 4 else 1).detach()
    return scores


VIT_LEVELS = (SiteLevel.residual, SiteLevel.head, SiteLevel.neuron)
