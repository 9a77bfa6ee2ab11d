"""Class means of images and of sentences side by side: sentences are one more domain, `text`.

One tower reads both, so that its sites are those of both. Where texts have a tower of their own, a
site of the image tower stands beside that of the text tower at the nearest relative depth.

Legend: F folds, C classes, U units, T texts, L tokens.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import torch

from analysis.cells import CellMeans, CellSums, beside, cell_numbers, dealt, site_means
from analysis.sites import Site, at_text_end, probed_sites, taps, text_sites
from gen.evaluation.embed import BATCH, batch_size
from gen.evaluation.prompts import Wording, sentences
from gen.models.clippo import Clippo
from gen.models.texts import Texts
from gen.models.trained import Learner
from gen.schema import PromptSet
from splits.errors import UserError

TEXT = "text"
"""the domain of all sentences"""
EMBEDDING = "embedding"


def sentence_table(classes: Sequence[str], wording: Wording) -> pl.DataFrame:
    """The sentences of every class, with generic nouns that name no domain, in the same order.

    Columns: `text`, `domain` (TEXT), `class_id` (position among the classes).
    """
    rows = [
        {"text": text, "domain": TEXT, "class_id": number}
        for number, name in enumerate(classes)
        for text in sentences(PromptSet.domain_free, name, wording)
    ]
    return pl.DataFrame(rows, schema={"text": pl.String, "domain": pl.String, "class_id": pl.Int64})


def rendered(texts: Texts, shown: Sequence[str], pixels: int) -> Iterator[torch.Tensor]:
    """Sentences as a CLIPPO's tower sees them, in batches, uint8 [b, 3, S, S].

    Args:
        texts: what draws them.
        shown: the sentences.
        pixels: S.

    Raises:
        UserError: one does not fit on a canvas.
    """
    step = batch_size(pixels)
    for start in range(0, len(shown), step):
        canvases = texts.encode(shown[start : start + step])
        yield canvases.unsqueeze(1).expand(-1, 3, -1, -1)


def modal_cells(
    learner: Learner,
    batches: Iterable[torch.Tensor],
    samples: pl.DataFrame,
    domains: Sequence[str],
    classes: Sequence[str],
    spoken: pl.DataFrame,
    device: torch.device,
) -> CellMeans:
    """Cell means of images, and of sentences as the last domain.

    Args:
        learner: a model that reads texts.
        batches: of the images, uint8, each of shape [b, 3, P, P].
        samples: the images' rows (`domain`, `class_id`).
        domains: of the images.
        classes: names by class id.
        spoken: `sentence_table` of the classes.
        device: where to compute.

    Returns:
        At every site of `probed_sites`. Of two towers units are filled up with zeros to the wider
        of the two, which no rotation-free measure sees; of a text tower whose sites are not known
        the embedding alone, and a warning says so.

    Raises:
        ValueError: a cell has fewer than two images or sentences; or there are more rows than
            images, or fewer.
    """
    images = site_means(
        learner, batches, samples, domains, classes, device, probed_sites(learner.model)
    )
    if isinstance(learner.model, Clippo):
        return beside(images, rendered_means(learner, spoken, classes, device))
    texts = text_tower_means(learner, spoken, classes, device)
    if len(texts.folds) == 1:
        images = replace(images, folds={EMBEDDING: images.folds[EMBEDDING]})
    return beside(*_as_wide(images, _at_depths(texts, list(images.folds))))


def rendered_means(
    learner: Learner, spoken: pl.DataFrame, classes: Sequence[str], device: torch.device
) -> CellMeans:
    """Cell means of drawn sentences in the tower of a CLIPPO."""
    batches = rendered(_texts_of(learner), spoken["text"].to_list(), learner.pixels)
    return site_means(
        learner, batches, spoken, [TEXT], classes, device, probed_sites(learner.model)
    )


@torch.inference_mode()
def text_tower_means(
    learner: Learner, spoken: pl.DataFrame, classes: Sequence[str], device: torch.device
) -> CellMeans:
    """Cell means of sentences in a text tower, at the token that the model takes."""
    model: Any = learner.model.to(device).eval()
    buckets, sizes = dealt(cell_numbers(spoken, [TEXT], len(classes)), len(classes))
    sums, sites = CellSums(buckets, sizes, device), _inner_text_sites(model)
    texts, encode = spoken["text"].to_list(), _texts_of(learner).encode
    for start in range(0, len(texts), BATCH):
        tokens_TL = encode(texts[start : start + BATCH]).to(device)
        found: dict[str, torch.Tensor] = {}
        with taps(sites, found.__setitem__):
            sums.add(EMBEDDING, model.encode_text(tokens_TL))
        for site, activations_TLU in found.items():
            sums.add(site, at_text_end(model, activations_TLU, tokens_TL))
    return sums.cells([*(site.name for site in sites), EMBEDDING], [TEXT], classes)


def _texts_of(learner: Learner) -> Texts:
    if learner.texts is None:
        raise ValueError("a classifier reads no sentences")
    return learner.texts


def _inner_text_sites(model: Any) -> list[Site]:
    """Sites of a text tower before its embedding; none of a tower that is not known."""
    try:
        return [site for site in text_sites(model) if site.name != EMBEDDING]
    except UserError as error:
        warnings.warn(f"{error.found}: only embeddings of texts are compared", stacklevel=2)
        return []


def _at_depths(texts: CellMeans, sites: Sequence[str]) -> CellMeans:
    """Means of a text tower under the names of the image tower's sites at equal relative depth.

    Inner sites are spread from 0 to 1 in both towers, the nearest is taken, of two the later one;
    the embedding stands beside the embedding.
    """
    inner = [name for name in texts.folds if name != EMBEDDING]
    last, ours = len(inner) - 1, max(len(sites) - 2, 1)
    folds = {
        site: texts.folds[inner[int(place * last / ours + 0.5)]]
        for place, site in enumerate(sites[:-1])
    }
    return replace(texts, folds=folds | {sites[-1]: texts.folds[EMBEDDING]})


def _as_wide(*cells: CellMeans) -> list[CellMeans]:
    """Cells with units of zeros where others have more."""
    units = {site: max(of.folds[site].shape[-1] for of in cells) for site in cells[0].folds}

    def widened(of: CellMeans) -> CellMeans:
        missing = {site: units[site] - values.shape[-1] for site, values in of.folds.items()}
        folds = {
            site: np.pad(values, [(0, 0)] * 3 + [(0, missing[site])])
            for site, values in of.folds.items()
        }
        return replace(of, folds=folds)

    return [widened(of) for of in cells]
