"""CLIP models from open_clip's and timm's towers, for images and vocabularies of any size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from gen.models.checks import check_model
from gen.models.vocabulary import Vocabulary
from gen.schema import ModelConfig, VisionConfig, VisionKind
from splits.errors import UserError

if TYPE_CHECKING:
    from open_clip import CLIP

MEAN, STD = 0.5, 0.5
"""images enter the tower as (x / 255 - MEAN) / STD, the same for every channel"""

SIGLIP_SCALE, SIGLIP_BIAS = math.log(10), -10.0
"""initial logit scale (its logarithm) and bias of the sigmoid objective (Zhai et al. 2023, 3.2)"""


def build_clip(
    config: ModelConfig, vocabulary: Vocabulary, pixels: int, seed: int, *, bias: bool = False
) -> CLIP:
    """A freshly initialised `open_clip.CLIP`; its weights depend on the arguments alone.

    Args:
        config: the model.
        vocabulary: the texts' tokens.
        pixels: height and width of the images.
        seed: of the initial weights.
        bias: give the logits a learned bias and SigLIP's initial scale (objective sigmoid).

    Raises:
        UserError: the configuration describes no model.
    """
    check_model(config, pixels)
    described = open_clip_config(config, vocabulary.size, vocabulary.context_length, pixels, bias)
    with seeded(seed):
        return build_towers(described, config.vision, pixels, seed)


def open_clip_config(
    config: ModelConfig, vocabulary_size: int, context_length: int, pixels: int, bias: bool
) -> dict[str, Any]:
    """The model in open_clip's words: arguments of `open_clip.CLIP`, content of its JSON files."""
    text = {
        "context_length": context_length,
        "vocab_size": vocabulary_size,
        "layers": config.text.layers,
        "width": config.text.width,
        "heads": config.text.heads,
    }
    described = {
        "embed_dim": config.embed_dim,
        "vision_cfg": vision_config(config.vision, pixels),
        "text_cfg": text,
    }
    if bias:
        described |= {"init_logit_scale": SIGLIP_SCALE, "init_logit_bias": SIGLIP_BIAS}
    return described


def vision_config(vision: VisionConfig, pixels: int) -> dict[str, Any]:
    """An image tower in open_clip's words (`open_clip.CLIPVisionCfg`)."""
    if vision.kind is VisionKind.timm:
        # an empty pool leaves the model its own (a ViT its class token, a ConvNet its average)
        return {"image_size": pixels, "timm_model_name": vision.timm_model, "timm_pool": ""}
    described = {"image_size": pixels, "width": vision.width, "head_width": vision.head_width}
    if vision.kind is VisionKind.resnet:
        return described | {"layers": list(vision.layers)}
    # blocks that compute queries, keys and values themselves, so that single heads can be read
    patches = {"layers": vision.layers[0], "patch_size": vision.patch_size}
    return described | patches | {"block_type": "custom"}


def build_towers(described: dict[str, Any], vision: VisionConfig, pixels: int, seed: int) -> CLIP:
    """Build the `open_clip.CLIP` that `open_clip_config` describes, inside of `seeded(seed)`.

    Its image tower comes first in the stream of random numbers: the text tower does not change
    the image tower's initial weights.
    """
    import open_clip  # takes seconds to import: only where it is needed

    tower = {key: value for key, value in described["vision_cfg"].items() if key != "block_type"}
    build = described | {"vision_cfg": tower}
    if vision.kind is VisionKind.timm:
        return _with_timm_tower(build, vision.timm_model, pixels, seed)
    model = open_clip.CLIP(**build)
    if vision.kind is VisionKind.vit:
        _let_heads_be_read(model.visual, vision)
    return model


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers of the CPU start from `seed`; afterwards all goes on as if nothing was."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        yield


def normalise(images: torch.Tensor) -> torch.Tensor:
    """uint8 images [B, 3, H, W] or floats in 0…255 → the towers' input, float32."""
    return (images.float() / 255.0 - MEAN) / STD


def _let_heads_be_read(tower: Any, vision: VisionConfig) -> None:
    """Exchange the blocks of a ViT for open_clip's custom ones, with the weights they have.

    A custom block computes the same, with parameters of the same names, but would start from
    much larger query, key and value weights (standard deviation head_width^-0.5 instead of
    Xavier's) and non-zero output biases.
    """
    from open_clip.transformer import Transformer

    heads = vision.width // vision.head_width
    blocks = Transformer(vision.width, vision.layers[0], heads, block_type="custom")
    blocks.load_state_dict(tower.transformer.state_dict())
    tower.transformer = blocks


def _with_timm_tower(build: dict[str, Any], name: str, pixels: int, seed: int) -> CLIP:
    """A CLIP whose image tower is timm's, made for images of this size where that must be said."""
    import open_clip
    import timm

    try:
        model = open_clip.CLIP(**build)
        if timm.get_pretrained_cfg_value(name, "fixed_input_size"):  # open_clip does not tell it
            torch.random.default_generator.manual_seed(seed)
            trunk: Any = timm.create_model(name, img_size=pixels)
            trunk.reset_classifier(0)
            model.visual.trunk = trunk
        with torch.no_grad():
            model.visual.eval()(torch.zeros(1, 3, pixels, pixels))
    except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"timm's `{name}` makes no image tower for {pixels} × {pixels} pixels ({reason})",
            expected="a model of timm that embeds images of the dataset's size",
            where="key `vision.timm_model`",
        ) from None
    _check_patches(model.visual, name, pixels)
    model.visual.train()
    return model


def _check_patches(tower: Any, name: str, pixels: int) -> None:
    """timm would leave out the pixels beside the last whole patch without a word."""
    from timm.layers import PatchEmbed

    embed = getattr(tower.trunk, "patch_embed", None)
    if isinstance(embed, PatchEmbed) and any(pixels % side for side in embed.patch_size):
        raise UserError(
            f"timm's `{name}` has patches of {embed.patch_size[0]} pixels, and images {pixels}",
            expected="a model whose patches divide the images",
            where="key `vision.timm_model`",
        )
