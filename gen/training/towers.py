"""A model as one module with one forward, which is what data parallelism can wrap."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.functional import normalize

Outputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]


class Towers(nn.Module):
    """The forward of training, of any of our models.

    Attributes:
        model: the model itself; its parameters' names have the prefix `model.` here.
    """

    model: Any  # its methods are not those of every module

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor, texts: torch.Tensor | None) -> Outputs | torch.Tensor:
        """What the loss needs, in float32 (or what is wider).

        Args:
            images: normalised, shape [b, 3, H, W].
            texts: of the model's kind, shape [T, ...]; None for a classifier.

        Returns:
            Normalised image features [b, E], normalised text features [T, E], the factor of
            their cosines (scalar), and the bias of the logits (scalar) or None; of a classifier
            its logits [b, C].
        """
        if texts is None:
            return _full(self.model(images))
        if hasattr(self.model, "encode_pairs"):
            image_features, text_features = self.model.encode_pairs(images, texts)
        else:
            image_features = self.model.encode_image(images)
            text_features = self.model.encode_text(texts)
        return (
            normalize(_full(image_features), dim=-1),
            normalize(_full(text_features), dim=-1),
            self.model.logit_scale.exp(),
            self.model.logit_bias,
        )


def _full(features: torch.Tensor) -> torch.Tensor:
    return features.to(torch.promote_types(features.dtype, torch.float32))
