"""CLIPPO: one vision transformer that reads images and captions alike, captions as pictures.

Tschannen et al. 2023, "CLIPPO: Image-and-Language Understanding from Pixels Only", section 3. The
transformer has no class token; a learned query attends to the last layer's tokens (MAP head), and
a linear layer takes its answer to the embedding.
"""

from __future__ import annotations

import torch
from torch import nn

from gen.models.checks import check_model
from gen.models.clip import SIGLIP_BIAS, SIGLIP_SCALE, normalise, seeded
from gen.models.fonts.glyphs import load_font
from gen.models.rendering import check_canvas
from gen.schema import ModelConfig, VisionKind
from splits.errors import UserError


class Clippo(nn.Module):
    """One tower for images and rendered texts. B images, T texts, S pixels, E embedding channels.

    Attributes:
        visual: the tower, float [N, 3, S, S] → [N, E].
        logit_scale: logarithm of the logits' scale, scalar.
        logit_bias: added to the logits, scalar; None where the objective has none.
    """

    def __init__(self, visual: nn.Module, *, bias: bool) -> None:
        super().__init__()
        self.visual = visual
        self.logit_scale = nn.Parameter(torch.tensor(SIGLIP_SCALE))
        self.logit_bias = nn.Parameter(torch.tensor(SIGLIP_BIAS)) if bias else None

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised images, float [B, 3, S, S] → features [B, E], not normalised."""
        return self.visual(images)

    def encode_text(self, texts: torch.Tensor) -> torch.Tensor:
        """Rendered texts, uint8 [T, S, S] → features [T, E], not normalised."""
        return self.visual(_as_images(texts))

    def encode_pairs(
        self, images: torch.Tensor, texts: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features [B, E] and [T, E] of normalised images and rendered texts in one forward."""
        features = self.visual(torch.cat([images, _as_images(texts).to(images.dtype)]))
        return features[: len(images)], features[len(images) :]


def build_clippo(config: ModelConfig, pixels: int, seed: int, *, bias: bool) -> Clippo:
    """A freshly initialised model; its weights depend on the arguments alone.

    Args:
        config: of kind clippo.
        pixels: height and width of images and of rendered texts.
        seed: of the weights.
        bias: whether the logits have a learned bias (sigmoid objective).

    Raises:
        UserError: the configuration describes no model.
    """
    from timm.models.vision_transformer import VisionTransformer  # takes seconds to import

    check_model(config, pixels)
    vision = config.vision
    with seeded(seed):
        visual = VisionTransformer(
            img_size=pixels,
            patch_size=vision.patch_size,
            num_classes=config.embed_dim,
            embed_dim=vision.width,
            depth=vision.layers[0],
            num_heads=vision.width // vision.head_width,
            class_token=False,
            global_pool="map",
            act_layer="gelu_tanh",
            weight_init="jax",
        )
        # "jax" is the authors' initialisation but for these two: it begins a head with zeros, from
        # which no direction of an embedding could be learned
        nn.init.normal_(visual.get_parameter("head.weight"), std=vision.width**-0.5)
        nn.init.normal_(visual.get_parameter("pos_embed"), std=vision.width**-0.5)
        return Clippo(visual, bias=bias)


def check_clippo(config: ModelConfig, pixels: int) -> None:
    """What is special about a clippo (`check_model` checks the rest): its canvas, font and tower.

    Raises:
        UserError: images are too small for text, there is no such font, or the tower is no ViT.
    """
    vision = config.vision
    check_canvas(pixels)
    load_font(config.font)
    if vision.kind is not VisionKind.vit:
        raise UserError(
            f"key `vision.kind` of a clippo is {vision.kind.name}",
            expected="vit: its one tower is a vision transformer",
        )


def _as_images(texts: torch.Tensor) -> torch.Tensor:
    """Rendered texts, uint8 [T, S, S] → the tower's input, float [T, 3, S, S], channels equal."""
    return normalise(texts).unsqueeze(1).expand(-1, 3, -1, -1)
