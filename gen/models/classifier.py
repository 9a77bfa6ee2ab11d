"""A classifier: the image tower of a CLIP with a linear layer over the classes."""

from __future__ import annotations

import torch
from torch import nn

from gen.models.checks import check_model
from gen.models.clip import build_towers, seeded, vision_config
from gen.schema import ModelConfig


class Classifier(nn.Module):
    """An image tower, and a linear layer from its embedding to the classes.

    Attributes:
        visual: images [B, 3, H, W] → embeddings [B, E].
        head: embeddings [B, E] → logits [B, C].
    """

    def __init__(self, visual: nn.Module, embed_dim: int, classes: int) -> None:
        super().__init__()
        self.visual = visual
        self.head = nn.Linear(embed_dim, classes)

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised images [B, 3, H, W] → embeddings [B, E], of any length."""
        return self.visual(images)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised images [B, 3, H, W] → logits [B, C]."""
        return self.head(self.encode_image(images))


def build_classifier(config: ModelConfig, pixels: int, classes: int, seed: int) -> Classifier:
    """A freshly initialised classifier; its weights depend on the arguments alone.

    Its image tower starts from the very weights of the CLIP with the same `vision`, `embed_dim`,
    image size and seed, whatever that one's text tower.

    Raises:
        UserError: the configuration describes no model.
    """
    check_model(config, pixels)
    least = {"context_length": 1, "vocab_size": 1, "layers": 1, "width": 1, "heads": 1}
    described = {
        "embed_dim": config.embed_dim,
        "vision_cfg": vision_config(config.vision, pixels),
        "text_cfg": least,  # built by open_clip with every image tower, and let go
    }
    with seeded(seed):
        visual = build_towers(described, config.vision, pixels, seed).visual
        return Classifier(visual, config.embed_dim, classes)
