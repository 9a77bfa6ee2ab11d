"""The model of a run: built for its dataset's words and pixels, and loaded once trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from gen.datasets.samples import Dataset
from gen.evaluation.prompts import all_sentences, wording_of
from gen.models.classifier import Classifier, build_classifier
from gen.models.clip import MEAN, STD, build_clip
from gen.models.texts import Texts
from gen.models.vocabulary import Vocabulary, build_vocabulary, full_vocabulary
from gen.runs import Run, file_sha256
from gen.schema import ModelKind, Objective, PromptSet
from gen.training.checkpoint import load_weights

if TYPE_CHECKING:
    from open_clip import CLIP

    from gen.models.clippo import Clippo

    Model: TypeAlias = CLIP | Clippo | Classifier


@dataclass(frozen=True)
class Learner:
    """A model, what encodes the texts that it reads, and how images enter it.

    Attributes:
        model: embeds images by `encode_image`; all but a classifier embed texts by `encode_text`.
        texts: None for a classifier, which reads no text.
        mean, std: per channel; an image enters as (x / 255 - mean) / std.
        pixels: height and width at which it sees an image; 0 where nobody said.
        checkpoint: sha256 of the file that the weights were read from; empty before training.
    """

    model: Model
    texts: Texts | None
    mean: tuple[float, float, float] = (MEAN, MEAN, MEAN)
    std: tuple[float, float, float] = (STD, STD, STD)
    pixels: int = 0
    checkpoint: str = ""


def build_learner(run: Run, dataset: Dataset) -> Learner:
    """The run's model before training; its logits have a bias iff the objective is sigmoid.

    Raises:
        UserError: the configuration describes no model.
    """
    config, pixels, seed = run.model, dataset.pixels, run.seed
    bias = run.training.objective is Objective.sigmoid
    if config.kind is ModelKind.classifier:
        classifier = build_classifier(config, pixels, len(dataset.classes), seed)
        return Learner(classifier, None, pixels=pixels)
    if config.kind is ModelKind.clippo:
        from gen.models.clippo import build_clippo
        from gen.models.rendering import renderer_of

        clippo = build_clippo(config, pixels, seed, bias=bias)
        return Learner(clippo, renderer_of(config, pixels), pixels=pixels)
    vocabulary = run_vocabulary(run, dataset)
    clip = build_clip(config, vocabulary, pixels, seed, bias=bias)
    return Learner(clip, vocabulary, pixels=pixels)


def run_vocabulary(run: Run, dataset: Dataset) -> Vocabulary:
    """The words of all captions of a dataset and of all prompts made of its caption patterns.

    All of them, not only a mixture's: every model of a study has the same table of tokens. With a
    base or a stream, whose captions may hold any word, CLIP's whole vocabulary.
    """
    if run.mixture.base or run.training.stream.shards:
        return full_vocabulary()
    wording = wording_of(dataset)
    columns = (dataset.samples[name].unique() for name in ("caption", "caption_aligned"))
    texts = {text for column in columns for text in column}
    texts.update(all_sentences(PromptSet.ensemble, dataset.classes, wording))
    return build_vocabulary(sorted(texts))


def load_trained(run: Run, dataset: Dataset, weights: Path | None = None) -> Learner:
    """The run's model with its final weights, or with those of a milestone.

    Args:
        run: a trained run, or one of a pretrained model.
        dataset: of the study.
        weights: file of the milestone; None: the final weights.

    Raises:
        UserError: the weights cannot be read, or are another model's; a pretrained model is not
            there.
    """
    if run.pretrained is not None:
        from gen.models.pretrained import load_pretrained

        return load_pretrained(run.pretrained)
    path = weights or run.final_weights
    learner = build_learner(run, dataset)
    load_weights(path, learner.model)
    return replace(learner, checkpoint=file_sha256(path))
