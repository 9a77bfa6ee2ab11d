"""Start CLIP_benchmark with one more type of model: `--model_type clippo --model FOLDER`."""

from __future__ import annotations

from pathlib import Path

import clip_benchmark.models
import numpy as np
import torch
from PIL import Image

from gen.models.clip import normalise
from gen.models.export import load_clippo


def load(model_name: str, pretrained: str, cache_dir: str | None, device: str) -> tuple:
    """Model, transform and tokenizer of an exported CLIPPO, as CLIP_benchmark asks for them."""
    learner = load_clippo(Path(model_name))
    return learner.model.to(device), transform, learner.texts.encode


def transform(image: Image.Image) -> torch.Tensor:
    """A picture of the model's own size, float32 [3, S, S]."""
    pixels = torch.from_numpy(np.array(image.convert("RGB")))
    return normalise(pixels.permute(2, 0, 1))


if __name__ == "__main__":
    clip_benchmark.models.TYPE2FUNC["clippo"] = load
    clip_benchmark.models.MODEL_TYPES.append("clippo")
    from clip_benchmark.cli import main

    main()
