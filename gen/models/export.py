"""Trained models as folders: of a CLIP one that open_clip opens by `local-dir:FOLDER`.

The folder holds `open_clip_config.json` (the model in open_clip's words, and how images enter it)
and `open_clip_model.safetensors`. Our small table of tokens goes back into CLIP's 49,408 rows:
every used row to its place, bit for bit, all others zero. Zero is where training with the whole
table would take them: a row that no caption uses has no gradient, and weight decay shrinks it. A
word that was never seen thus says nothing but that it takes a place.

A CLIPPO, which open_clip does not know, gets a folder that only we open: `load_clippo`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from gen.config import make_config, resolved
from gen.models.clip import MEAN, STD, open_clip_config
from gen.models.vocabulary import FULL_SIZE, Vocabulary
from gen.schema import ModelConfig, ModelKind, VisionKind
from gen.training.checkpoint import load_weights
from splits.errors import UserError
from splits.files import replacing, write_json, write_text

if TYPE_CHECKING:
    from open_clip import CLIP

    from gen.models.clippo import Clippo
    from gen.models.trained import Learner

TOKENS = "token_embedding.weight"
CLIPPO_CONFIG, CLIPPO_WEIGHTS = "clippo.json", "clippo.safetensors"
CLIPPO_README = """A CLIPPO trained with clipgen: `clippo.json` describes it, and
`clippo.safetensors` holds its weights. To open it:

    from pathlib import Path
    from gen.models.export import load_clippo
    learner = load_clippo(Path("FOLDER"))

`learner.model.encode_image` takes images as (x / 255 - 0.5) / 0.5, float32 [B, 3, S, S];
`learner.model.encode_text` takes what `learner.texts.encode(["a photo of a cat"])` returns.
"""


def export_clip(
    model: CLIP, config: ModelConfig, vocabulary: Vocabulary, pixels: int, folder: Path
) -> None:
    """Write `folder` for open_clip: `open_clip.create_model_and_transforms("local-dir:FOLDER")`.

    Text and image features are those of `model`, bit for bit, for images of its size. Larger
    images are resized by open_clip's transform (short side, bicubic, centre crop): of those that
    it offers the nearest to the area average of our own reader, and not the same.

    Args:
        model: as built by `gen.models.clip.build_clip` from the arguments that follow.
        config: its configuration.
        vocabulary: its tokens.
        pixels: height and width of its images.
        folder: made if it is not there.

    Raises:
        UserError: open_clip cannot build the model from a configuration.
    """
    _check_exportable(model, config)
    bias = model.logit_bias is not None
    described = open_clip_config(config, FULL_SIZE, vocabulary.context_length, pixels, bias)
    preprocess = {
        "size": pixels,
        "mode": "RGB",
        "mean": [MEAN] * 3,
        "std": [STD] * 3,
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    weights = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    weights[TOKENS] = _all_rows(weights[TOKENS], vocabulary)
    with replacing(folder / "open_clip_model.safetensors") as temporary:
        save_file(weights, temporary)
    content = {"model_cfg": described, "preprocess_cfg": preprocess}
    write_json(folder / "open_clip_config.json", content)


def _all_rows(used: torch.Tensor, vocabulary: Vocabulary) -> torch.Tensor:
    """The token table [V, W] of a vocabulary as that of CLIP's tokenizer, [49408, W]."""
    rows = torch.zeros((FULL_SIZE, used.shape[1]), dtype=used.dtype)
    rows[torch.from_numpy(vocabulary.token_ids)] = used
    return rows


def _check_exportable(model: CLIP, config: ModelConfig) -> None:
    if config.kind is not ModelKind.clip:
        raise UserError(
            f"a model of kind {config.kind.name} is none of open_clip's",
            expected="a model of kind clip",
        )
    if config.vision.kind is not VisionKind.timm:
        return
    import timm

    # open_clip leaves such a model the image size of its name, and would not load ours
    name, (size, _) = config.vision.timm_model, model.visual.image_size
    known: Any = timm.get_pretrained_cfg_value(name, "input_size")  # channels, height, width
    if timm.get_pretrained_cfg_value(name, "fixed_input_size") and known[1] != size:
        raise UserError(
            f"open_clip builds timm's `{name}` for {known[1]} pixels only, and it was trained for "
            f"{size}",
            expected="a tower of kind vit or resnet, or a timm model that takes any image size",
        )


def export_clippo(model: Clippo, config: ModelConfig, pixels: int, folder: Path) -> None:
    """Write `folder` for `load_clippo`; no other library opens a CLIPPO.

    Args:
        model: as built by `gen.models.clippo.build_clippo` from the arguments that follow.
        config: its configuration; a font that is a file is copied into the folder.
        pixels: height and width of its images and texts.
        folder: made if it is not there.
    """
    font = Path(config.font)
    described = resolved(config)
    if font.is_file():
        described["font"] = f"font{font.suffix}"
        with replacing(folder / described["font"]) as temporary:
            shutil.copyfile(font, temporary)
    content = {"model": described, "pixels": pixels, "bias": model.logit_bias is not None}
    weights = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    with replacing(folder / CLIPPO_WEIGHTS) as temporary:
        save_file(weights, temporary)
    write_json(folder / CLIPPO_CONFIG, content)
    write_text(folder / "README.md", CLIPPO_README)


def load_clippo(folder: Path) -> Learner:
    """The model that `export_clippo` wrote, with the renderer of its texts.

    Raises:
        UserError: the folder holds no exported CLIPPO, or its files are damaged.
    """
    from gen.models.clippo import build_clippo
    from gen.models.rendering import renderer_of
    from gen.models.trained import Learner

    path = folder / CLIPPO_CONFIG
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        font = folder / content["model"]["font"]
        content["model"]["font"] = str(font) if font.is_file() else content["model"]["font"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{folder} holds no exported CLIPPO ({error})",
            expected=f"{CLIPPO_CONFIG} and {CLIPPO_WEIGHTS}, as `clipgen export` writes them",
        ) from None
    config: ModelConfig = make_config("models", content["model"], (), where=str(path))
    model = build_clippo(config, content["pixels"], 0, bias=content["bias"])
    load_weights(folder / CLIPPO_WEIGHTS, model)
    return Learner(model.eval(), renderer_of(config, content["pixels"]), pixels=content["pixels"])
