"""The model of a run: built for its dataset's words and pixels, and loaded once trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetensors import SafetensorError

from gen.datasets.captions import prompts
from gen.datasets.samples import Dataset
from gen.models.clip import build_clip
from gen.models.vocabulary import Vocabulary, build_vocabulary, full_vocabulary
from gen.runs import Run
from gen.training.checkpoint import load_weights
from splits.errors import UserError

if TYPE_CHECKING:
    from open_clip import CLIP


def run_vocabulary(run: Run, dataset: Dataset) -> Vocabulary:
    """The words of all captions of a dataset and of the prompts for its classes.

    All of them, not only a mixture's: every model of a study has the same table of tokens. With a
    base, whose captions may hold any word, CLIP's whole vocabulary.
    """
    if run.mixture.base:
        return full_vocabulary()
    style = dataset.caption_style
    columns = (dataset.samples[name].unique() for name in ("caption", "caption_aligned"))
    texts = {text for column in columns for text in column}
    texts.update(text for name in dataset.classes for text in prompts(name, style))
    return build_vocabulary(sorted(texts))


def build_model(run: Run, dataset: Dataset, vocabulary: Vocabulary) -> CLIP:
    """The run's model before training."""
    return build_clip(run.model, vocabulary, dataset.pixels, run.seed)


def load_trained(run: Run, dataset: Dataset, vocabulary: Vocabulary) -> CLIP:
    """The run's model with its final weights."""
    model = build_model(run, dataset, vocabulary)
    try:
        load_weights(run.final_weights, model)
    except (SafetensorError, RuntimeError) as error:  # not readable, or of another model
        raise UserError(
            f"{run.final_weights} is damaged ({str(error).splitlines()[0]})",
            fix="delete it; the next sweep trains the run again",
        ) from None
    return model
