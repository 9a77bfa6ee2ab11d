"""CLIP models from open_clip's towers, made for small images and closed vocabularies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from gen.models.vocabulary import Vocabulary
from gen.schema import ModelConfig, VisionKind
from splits.errors import UserError

if TYPE_CHECKING:
    from open_clip import CLIP

MEAN, STD = 0.5, 0.5
"""images enter the tower as (x / 255 - MEAN) / STD, the same for every channel"""


def build_clip(config: ModelConfig, vocabulary: Vocabulary, pixels: int, seed: int) -> CLIP:
    """A freshly initialised `open_clip.CLIP`; its weights depend on the arguments alone.

    Raises:
        UserError: the configuration describes no model.
    """
    import open_clip  # takes seconds to import: only where it is needed

    _check(config, pixels)
    vision: dict[str, Any] = {
        "image_size": pixels,
        "layers": config.vision.layers,
        "width": config.vision.width,
        "head_width": config.vision.head_width,
    }
    if config.vision.kind is VisionKind.vit:
        vision |= {"layers": config.vision.layers[0], "patch_size": config.vision.patch_size}
    text = {
        "context_length": vocabulary.context_length,
        "vocab_size": vocabulary.size,
        "layers": config.text.layers,
        "width": config.text.width,
        "heads": config.text.heads,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return open_clip.CLIP(config.embed_dim, vision, text)


def normalise(images: torch.Tensor) -> torch.Tensor:
    """uint8 images [B, 3, H, W] or floats in 0…255 → the towers' input, float32."""
    return (images.float() / 255.0 - MEAN) / STD


def _check(config: ModelConfig, pixels: int) -> None:
    vision, text = config.vision, config.text
    for key, value in {
        "embed_dim": config.embed_dim,
        "vision.width": vision.width,
        "vision.head_width": vision.head_width,
        "text.layers": text.layers,
        "text.width": text.width,
        "text.heads": text.heads,
    }.items():
        if value < 1:
            raise UserError(f"key `{key}` is {value}", expected="a positive number")
    wanted = 1 if vision.kind is VisionKind.vit else 4
    if len(vision.layers) != wanted or min(vision.layers) < 1:
        raise UserError(
            f"key `vision.layers` is {list(vision.layers)}",
            expected=f"{wanted} positive number{'s' * (wanted > 1)} for a {vision.kind.name}",
        )
    if vision.kind is VisionKind.vit and (vision.patch_size < 1 or pixels % vision.patch_size):
        raise UserError(
            f"key `vision.patch_size` is {vision.patch_size}",
            expected=f"a divisor of the image size, {pixels} pixels",
        )
    if vision.kind is VisionKind.vit and vision.width % vision.head_width:
        raise UserError(
            f"key `vision.head_width` is {vision.head_width}",
            expected=f"a divisor of vision.width, {vision.width}",
        )
    # ModifiedResNet halves its input five times and counts its heads in units of head_width
    if vision.kind is VisionKind.resnet and (pixels % 32 or vision.width * 32 % vision.head_width):
        raise UserError(
            f"a resnet of width {vision.width}, heads of {vision.head_width}, {pixels} pixels",
            expected="pixels divisible by 32, and 32 × width divisible by head_width",
        )
    if text.width % text.heads:
        raise UserError(
            f"key `text.heads` is {text.heads}",
            expected=f"a divisor of text.width, {text.width}",
        )
