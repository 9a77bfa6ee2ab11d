"""What is asked of both sides alike: equal towers, zero-shot accuracy, use of the device."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.contest import Contest

if TYPE_CHECKING:
    from open_clip import CLIP

    from gen.models.trained import Learner
    from gen.runs import Run
    from gen.sweep.study import Study

TOKENS = "token_embedding.weight"
"""the one table that differs: clipgen has the used rows only"""


def check_towers(contest: Contest) -> dict[str, Any]:
    """Compare the two sides' models.

    Returns:
        `parameters` (but the token table), `token_rows` and `decayed` of both sides.

    Raises:
        ValueError: they differ in more than the token table.
    """
    from gen.models.trained import build_learner

    study, run = _study(contest, [], 0, contest.folder / "runs")
    sides = [_counts(build_learner(run, study.dataset).model), _counts(_open_clip(contest))]
    for key in ("parameters", "decayed"):
        if sides[0][key] != sides[1][key]:
            raise ValueError(f"{key}: {sides[0][key]} in clipgen, {sides[1][key]} in open_clip")
    return {"clipgen": sides[0], "open_clip": sides[1]}


def _counts(model: Any) -> dict[str, int]:
    """Numbers of a model's parameters; decayed by open_clip_train's rule of names."""
    sizes = {name: p for name, p in model.named_parameters() if name != TOKENS}
    spared = ("bn", "ln", "bias", "logit_scale")
    decayed = [
        p for name, p in sizes.items() if p.ndim >= 2 and not any(part in name for part in spared)
    ]
    return {
        "parameters": sum(p.numel() for p in sizes.values()),
        "decayed": sum(p.numel() for p in decayed),
        "token_rows": dict(model.named_parameters())[TOKENS].shape[0],
    }


def score_clipgen(contest: Contest, overrides: Sequence[str], seed: int, folder: Path) -> float:
    """Zero-shot accuracy of a run's final weights, in percent."""
    from gen.models.trained import load_trained

    study, run = _study(contest, overrides, seed, folder / "runs")
    return _accuracy(load_trained(run, study.dataset), study)


def score_openclip(contest: Contest, checkpoint: Path) -> float:
    """Zero-shot accuracy of open_clip_train's checkpoint, in percent, by the same code."""
    import numpy as np
    import torch

    from gen.models.trained import Learner
    from gen.models.vocabulary import FULL_SIZE, Vocabulary

    study, _ = _study(contest, [], 0, contest.folder / "runs")
    model = _open_clip(contest)
    model.load_state_dict(torch.load(checkpoint, weights_only=True)["state_dict"])
    vocabulary = Vocabulary(np.arange(FULL_SIZE), model.context_length)
    return _accuracy(Learner(model, vocabulary), study)


def _accuracy(learner: Learner, study: Study) -> float:
    import polars as pl

    from gen.datasets.shards import read_images
    from gen.device import pick_device
    from gen.evaluation.zero_shot import class_scores

    dataset = study.dataset
    samples = dataset.samples.filter(pl.col("split") == "test")
    images = read_images(dataset.folder, samples, dataset.pixels)
    scores = class_scores(learner, images, dataset.classes, dataset.caption_style, pick_device())
    return 100 * float((scores.argmax(dim=1).numpy() == samples["class_id"].to_numpy()).mean())


def utilisation(contest: Contest, precision: str, pairs_per_second: float) -> float | None:
    """Model FLOPs utilisation of the device; None where its peak is not known."""
    import torch

    from gen.models.trained import build_learner
    from gen.schema import Precision
    from gen.training.flops import flops_per_sample, mfu

    study, run = _study(contest, [], 0, contest.folder / "runs")
    learner = build_learner(run, study.dataset)
    model: Any = learner.model
    pixels, context = study.dataset.pixels, model.context_length
    images, tokens = torch.zeros(2, 3, pixels, pixels), torch.zeros(2, context, dtype=torch.int64)

    def step() -> None:
        (model.encode_image(images).sum() + model.encode_text(tokens).sum()).backward()

    flops = flops_per_sample(step, 2)
    return mfu(flops, pairs_per_second, torch.cuda.get_device_name(), Precision[precision])


def _study(contest: Contest, overrides: Sequence[str], seed: int, runs: Path) -> tuple[Study, Run]:
    from gen.sweep.study import load_study

    file = str(contest.folder / "study.yaml")
    study = load_study(file, overrides, data=contest.data, runs=runs)
    return study, next(run for run in study.runs if run.seed == seed)


def _open_clip(contest: Contest) -> CLIP:
    import open_clip

    logging.disable(logging.WARNING)  # "no weights found": there are none yet
    model = open_clip.create_model(f"local-dir:{contest.folder / 'model'}", load_weights=False)
    assert isinstance(model, open_clip.CLIP)
    return model
