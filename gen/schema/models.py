"""The schema of configs/models."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING


class ModelKind(Enum):
    """What is trained."""

    clip = "clip"
    """an image tower and a text tower (Radford et al. 2021)"""
    clippo = "clippo"
    """one tower for images and rendered captions (Tschannen et al. 2023)"""
    classifier = "classifier"
    """the image tower with a linear layer over the classes, trained on labels"""


class VisionKind(Enum):
    """Image towers."""

    resnet = "resnet"
    """open_clip's ModifiedResNet"""
    vit = "vit"
    """open_clip's VisionTransformer"""
    timm = "timm"
    """any image model of timm"""


@dataclass
class VisionConfig:
    """Image tower; of a CLIPPO the only one (kind vit)."""

    kind: VisionKind = MISSING
    layers: list[int] = field(default_factory=list)
    """blocks of each of the four stages (resnet), or the one depth (vit)"""
    width: int = 0
    """channels of the first stage (resnet) or of the tokens (vit)"""
    head_width: int = 64
    """channels of an attention head"""
    patch_size: int = 0
    """pixels per patch side (vit only)"""
    timm_model: str = ""
    """name of the model (timm only)"""


@dataclass
class TextConfig:
    """Text tower (open_clip's transformer); its context is as long as the longest caption."""

    layers: int = 0
    width: int = 0
    heads: int = 0


@dataclass
class ModelConfig:
    """A model to train."""

    kind: ModelKind = ModelKind.clip
    embed_dim: int = MISSING
    vision: VisionConfig = field(default_factory=VisionConfig)
    text: TextConfig = field(default_factory=TextConfig)
    """kind clip only"""
    font: str = "unifont"
    """of rendered captions: `unifont`, or the path of a .ttf, .otf or .hex file (clippo only)"""
    cut_texts: bool = False
    """leave off the end of a text that does not fit its canvas, instead of refusing it (clippo
    only)"""
