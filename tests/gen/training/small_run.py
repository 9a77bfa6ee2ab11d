"""A training of seconds, put together without a dataset, for tests of the loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import torch

from gen.config import load_config
from gen.device import autocast
from gen.models.classifier import Classifier
from gen.models.clip import build_clip
from gen.models.clippo import Clippo, build_clippo
from gen.models.rendering import MIN_PIXELS, Renderer
from gen.models.vocabulary import build_vocabulary
from gen.randomness import sample_keys
from gen.schema import Precision, TrainingConfig
from gen.training.batches import Feed
from gen.training.distributed import Ranks, wrap
from gen.training.images import Resident
from gen.training.optimizer import build_optimizer
from gen.training.pairs import Pairs
from gen.training.schedule import teaches_texts
from gen.training.step import Training
from gen.training.text_pairs import TextPairs
from gen.training.towers import Towers

SAMPLES, PIXELS = 40, 32
CPU = torch.device("cpu")
CAPTIONS = ["a cat, image", "a dog, image", "picture of a cat", "picture of a bird"]
RELATED = ["image of a cat", "image of a dog", "a bird, picture"]
"""that stand in pairs of texts only"""
TEXT_PAIRS = TextPairs(
    firsts=np.array([0, 2, 1, 3, 0]),  # rows of CAPTIONS, and then of RELATED
    groups=np.array([0, 1, 2, 3, 0]),
    members=np.array([2, 4, 0, 4, 5, 6]),
    starts=np.array([0, 2, 4, 5]),
    sizes=np.array([2, 2, 1, 1]),
)
"""cats' captions with each other and with an image of a cat, a dog's and a bird's with one text"""
CONFIG = TrainingConfig(
    samples_seen=96, batch_size=8, crop_area=0.5, log_every=2, checkpoint_every=32
)
STEPS = 12
SMALL = {
    "rn-tiny": ["vision.width=4", "vision.head_width=16"],
    "vit-tiny": ["vision.width=16", "vision.head_width=8", "vision.layers=[2]"],
    "clippo-tiny": ["vision.width=16", "vision.head_width=8", "vision.layers=[1]"],
}


def small_pairs(texts, pixels=PIXELS, device=CPU, *, related=False) -> Pairs:
    """Random images under four captions; with `related` also pairs of texts."""
    listed = CAPTIONS + RELATED * related
    generator = torch.Generator().manual_seed(0)
    shape = (SAMPLES, pixels, pixels, 3)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    ids = [f"sample_{number}" for number in range(SAMPLES)]
    captions = np.random.default_rng(0).integers(len(CAPTIONS), size=SAMPLES)
    return Pairs(
        images=Resident(images.to(device), device),
        texts=None if texts is None else texts.encode(listed),
        caption_ids=captions,
        caption_keys=sample_keys(listed),
        keys=sample_keys(ids),
        ids=pl.Series(ids),
        labels=captions,
        pixels=pixels,
        text_pairs=TEXT_PAIRS if related else None,
    )


def small_model(name="rn-tiny", seed=0, *, bias=False):
    """A model of some thousand weights."""
    if name == "clippo-tiny":
        config = load_config("models", name, [*SMALL[name], "embed_dim=16"])
        return build_clippo(config, MIN_PIXELS, seed, bias=bias)
    config = load_config("models", name, [*SMALL[name], "text.width=16", "embed_dim=16"])
    return build_clip(config, build_vocabulary(CAPTIONS), PIXELS, seed, bias=bias)


def small_training(
    folder, *, model=None, seed=0, ranks=None, precision=Precision.fp32, **changes
) -> Training:
    """A training of a fresh model in `folder`; `changes` are of its configuration."""
    ranks = ranks or Ranks(0, 1, 0, CPU)
    config = replace(CONFIG, **changes)
    model = model if model is not None else small_model(seed=seed)
    texts, pixels = build_vocabulary(CAPTIONS), PIXELS
    if isinstance(model, Clippo):
        texts, pixels = Renderer(MIN_PIXELS, "unifont"), MIN_PIXELS
    elif isinstance(model, Classifier):
        texts = None
    towers = wrap(
        Towers(model).to(ranks.device).to(memory_format=torch.channels_last),
        ranks,
        config.sharding,
    )
    folder.mkdir(exist_ok=True)
    pairs = small_pairs(texts, pixels, ranks.device, related=teaches_texts(config))
    return Training(
        towers=towers,
        optimizer=build_optimizer(towers, config),
        feed=Feed(pairs, texts, config, seed, ranks, folder),
        folder=folder,
        identity={"training": {"learning_rate": config.learning_rate}, "seed": seed},
        arithmetic=lambda: autocast(precision, ranks.device),
        utilisation=lambda rate: None,
    )
