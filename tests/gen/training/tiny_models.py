"""Tiny models and batches in float64, and the gradient of a whole batch written out plainly."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import logsigmoid, normalize

from gen.schema import Objective
from gen.training.objective import contrastive_loss

CAPTIONS = torch.tensor([4, 1, 4, 2, 3, 1, 4, 0])
"""of the pairs of every batch here: 4 stands three times, 1 twice"""
PIXELS = 32


class LinearPair(nn.Module):
    """A linear map for images, another one for texts."""

    def __init__(self):
        super().__init__()
        self.visual = nn.Linear(3 * PIXELS * PIXELS, 5)
        self.text = nn.Linear(6, 5)
        self.dropout = nn.Dropout(0.5)
        self.logit_scale = nn.Parameter(torch.tensor(1.0))
        self.logit_bias = nn.Parameter(torch.tensor(-2.0))

    def encode_image(self, images):
        return self.dropout(self.visual(images.flatten(1)))

    def encode_text(self, texts):
        return self.text(texts.to(self.text.weight.dtype))


class OneTower(nn.Module):
    """One linear map for images and for texts, in one forward."""

    def __init__(self):
        super().__init__()
        self.visual = nn.Linear(6, 5)
        self.logit_scale = nn.Parameter(torch.tensor(1.0))
        self.logit_bias = None

    def encode_image(self, images):
        return self.visual(images.flatten(1)[:, :6])

    def encode_text(self, texts):
        return self.visual(texts.to(self.visual.weight.dtype))

    def encode_pairs(self, images, texts):
        inputs = torch.cat([images.flatten(1)[:, :6], texts.to(images.dtype)])
        return self.visual(inputs).split([len(images), len(texts)])


def build_model(name, kind):
    """A model in training mode; those with a bias have it for the sigmoid only."""
    torch.manual_seed(0)
    if name in ("linear", "linear with dropout"):
        model = LinearPair()
        model.dropout.p = 0.5 if "dropout" in name else 0.0
        if kind is not Objective.sigmoid:
            model.logit_bias = None
    elif name == "one tower":
        model = OneTower()
    else:
        model = _open_clip(name, -2.0 if kind is Objective.sigmoid else None)
    return model.double().train()


def _open_clip(name, bias):
    import open_clip

    vision = {"image_size": PIXELS, "head_width": 8}
    if name == "vit":
        vision |= {"layers": 2, "width": 16, "patch_size": 16}
    else:
        vision |= {"layers": [1, 1, 1, 1], "width": 8}
    text = {"context_length": 6, "vocab_size": 9, "layers": 1, "width": 16, "heads": 2}
    return open_clip.CLIP(8, vision, text, init_logit_bias=bias)


def batch(step=0):
    """Images of eight pairs and the texts of the five captions."""
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(len(CAPTIONS), 3, PIXELS, PIXELS, generator=generator).double()
    return images, torch.randint(9, (5, 6), generator=generator)


def local_loss(kind, captions, text_of, gather, first):
    """The loss as training calls it, a function of the towers' outputs."""

    def loss(images, texts, scale, bias):
        return contrastive_loss(
            kind, images, texts[text_of], captions, scale, bias, gather=gather, first=first
        )

    return loss


def plain_loss(model, kind, step=0):
    """The loss of the whole batch, from its definition."""
    images, texts = batch(step)
    x = normalize(model.encode_image(images), dim=-1)
    y = normalize(model.encode_text(texts), dim=-1)[CAPTIONS]
    logits = model.logit_scale.exp() * x @ y.T
    diagonal = torch.eye(len(x), dtype=torch.bool)
    if kind is Objective.sigmoid:
        signs = torch.where(diagonal, 1.0, -1.0)
        return -logsigmoid(signs * (logits + model.logit_bias)).sum() / len(x)
    repeats = CAPTIONS[:, None] == CAPTIONS
    matches = repeats if kind is Objective.multi_positive else diagonal
    by_image = (logits.softmax(dim=1) * matches).sum(dim=1).log()
    by_text = (logits.softmax(dim=0) * matches).sum(dim=0).log()
    return -(by_image.mean() + by_text.mean()) / 2


def plain_gradients(model, kind):
    """Gradient of every parameter for the whole batch."""
    loss = plain_loss(model, kind)
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters()}
