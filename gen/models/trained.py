"""The model of a run: built for its dataset's words and pixels, and loaded once trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from gen.datasets.captions import prompts
from gen.datasets.samples import Dataset
from gen.models.classifier import Classifier, build_classifier
from gen.models.clip import build_clip
from gen.models.texts import Texts
from gen.models.vocabulary import Vocabulary, build_vocabulary, full_vocabulary
from gen.runs import Run
from gen.schema import ModelKind, Objective
from gen.training.checkpoint import load_weights

if TYPE_CHECKING:
    from open_clip import CLIP

    from gen.models.clippo import Clippo

    Model: TypeAlias = CLIP | Clippo | Classifier


@dataclass(frozen=True)
class Learner:
    """A model, and what encodes the texts that it reads.

    Attributes:
        model: embeds images by `encode_image`; all but a classifier embed texts by `encode_text`.
        texts: None for a classifier, which reads no text.
    """

    model: Model
    texts: Texts | None


def build_learner(run: Run, dataset: Dataset) -> Learner:
    """The run's model before training; its logits have a bias iff the objective is sigmoid.

    Raises:
        UserError: the configuration describes no model.
    """
    config, pixels, seed = run.model, dataset.pixels, run.seed
    bias = run.training.objective is Objective.sigmoid
    if config.kind is ModelKind.classifier:
        return Learner(build_classifier(config, pixels, len(dataset.classes), seed), None)
    if config.kind is ModelKind.clippo:
        from gen.models.clippo import build_clippo
        from gen.models.rendering import Renderer

        clippo = build_clippo(config, pixels, seed, bias=bias)
        return Learner(clippo, Renderer(pixels, config.font))
    vocabulary = run_vocabulary(run, dataset)
    return Learner(build_clip(config, vocabulary, pixels, seed, bias=bias), vocabulary)


def run_vocabulary(run: Run, dataset: Dataset) -> Vocabulary:
    """The words of all captions of a dataset and of the prompts for its classes.

    All of them, not only a mixture's: every model of a study has the same table of tokens. With a
    base or a stream, whose captions may hold any word, CLIP's whole vocabulary.
    """
    if run.mixture.base or run.training.stream.shards:
        return full_vocabulary()
    style = dataset.caption_style
    columns = (dataset.samples[name].unique() for name in ("caption", "caption_aligned"))
    texts = {text for column in columns for text in column}
    texts.update(text for name in dataset.classes for text in prompts(name, style))
    return build_vocabulary(sorted(texts))


def load_trained(run: Run, dataset: Dataset) -> Learner:
    """The run's model with its final weights.

    Raises:
        UserError: the weights cannot be read, or are another model's.
    """
    learner = build_learner(run, dataset)
    load_weights(run.final_weights, learner.model)
    return learner
